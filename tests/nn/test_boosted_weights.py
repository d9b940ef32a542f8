"""A sum of stages as one network: the same numbers, any prefix of it, and what is refused."""

import numpy as np
import pytest
from scipy.special import expit

from jaxlab.nn import Boosted, SmallMLP, assemble_boosted, boosted_prefix, small_mlp

T, D, J, OUT = 4, 3, 2, 5
RNG = np.random.default_rng(0)
STAGES = SmallMLP(*(RNG.normal(size=(T, *s)).astype(np.float32) for s in ((D, J), (J,), (J, OUT), (OUT,))))
MODEL = Boosted(STAGES, RNG.normal(size=T).astype(np.float32), RNG.normal(size=OUT).astype(np.float32))
X = RNG.normal(size=(7, D)).astype(np.float32)


def staged(stop):
    """The additive model after so many stages, stage by stage."""
    total = np.tile(MODEL.intercept.astype(np.float64), (len(X), 1))
    for t in range(stop):
        w, b, v, c = (leaf[t] for leaf in STAGES)
        total += MODEL.steps[t] * (expit(X @ w + b) @ v + c)
    return total


def test_assembled_network_is_the_sum_of_its_stages():
    network = assemble_boosted(MODEL)
    assert network.weight_in.shape == (D, T * J)
    np.testing.assert_allclose(small_mlp(network, X), staged(T), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(small_mlp(assemble_boosted(MODEL, scale=2.0), X), 2 * staged(T), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stop", range(T + 1))
def test_prefix_is_the_staged_prediction(stop):
    network = assemble_boosted(boosted_prefix(MODEL, stop * J))
    assert network.weight_in.shape == (D, stop * J)
    np.testing.assert_allclose(small_mlp(network, X), staged(stop), rtol=1e-5, atol=1e-6)


def test_cutting_units_of_the_assembled_network_leaves_the_later_constants():
    whole = assemble_boosted(MODEL)
    cut = SmallMLP(whole.weight_in[:, : 2 * J], whole.bias_in[: 2 * J], whole.weight_out[: 2 * J], whole.bias_out)
    later = np.sum(MODEL.steps[2:, None] * STAGES.bias_out[2:], axis=0)
    np.testing.assert_allclose(small_mlp(cut, X), staged(2) + later, rtol=1e-5, atol=1e-5)
    assert np.abs(later).max() > 0.1


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: boosted_prefix(MODEL, 3), ValueError, "num_units must be a multiple of 2"),
        (lambda: boosted_prefix(MODEL, T * J + J), ValueError, r"num_units must lie in \[0, 8\]"),
        (lambda: boosted_prefix(MODEL, -2), ValueError, "num_units must be an integer of at least 0"),
        (lambda: boosted_prefix(MODEL, 2.0), TypeError, "num_units must be a static integer"),
        (lambda: assemble_boosted(MODEL._replace(steps=MODEL.steps[1:])), ValueError, "stages and steps must agree"),
        (lambda: small_mlp(assemble_boosted(MODEL), X[:, :2]), ValueError, r"x must have shape \[..., 3\]"),
        (lambda: small_mlp(assemble_boosted(MODEL), X.astype(int)), TypeError, "x must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
