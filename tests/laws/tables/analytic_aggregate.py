"""Rows of jaxlab.analytic: regression from responses of bags."""

from jaxlab import analytic
from tests.laws.row import D, M, N, Row, inputs, mask, normal, uniform

ROWS = {
    "aggregate_least_squares": Row(
        analytic.aggregate_least_squares,
        inputs(
            x=normal(N, M, D),
            bag_targets=normal(N),
            rho=uniform(),
            ridge=uniform(low=0.1),
            where=mask(N, M),
        ),
        batch=("x", "bag_targets", "where"),
        couples=True,
        diff=("x", "bag_targets"),
        bf16=("x", "bag_targets"),
        tol=1e-4,
    ),
}
