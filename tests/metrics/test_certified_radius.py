"""The certificate: no perturbation inside the radius changes a decision, random, built to, or found by gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import brentq
from sklearn.datasets import load_digits

from jaxlab.losses import template_margin
from jaxlab.metrics import cbc_certified_radius
from jaxlab.nn import cbc_probabilities, component_reasoning, median_bandwidth, rbf_detections
from jaxlab.optim import minimize, projected_gradient_attack

MODELS, DIRECTIONS, D, K, C = 300, 3000, 4, 6, 3


def probabilities(params, x, bandwidth):
    prototypes, theta = params
    return cbc_probabilities(rbf_detections(x, prototypes, bandwidth=bandwidth), *component_reasoning(theta))


def test_no_random_perturbation_violates_the_certificate():
    """300 random models, and 60 with a bandwidth per prototype, 3000 directions each at 0.999 of the radius."""

    @jax.jit
    @jax.vmap
    def flips(key, same):
        keys = jax.random.split(key, 5)
        params = jax.random.normal(keys[0], (K, D)), 2 * jax.random.normal(keys[1], (2 * K, C))
        x = jax.random.normal(keys[2], (D,))
        bandwidth = jnp.exp(jax.random.normal(keys[3], (K,)))
        bandwidth = jnp.where(same, bandwidth[0], bandwidth)
        label = jnp.argmax(probabilities(params, x, bandwidth))
        seen = rbf_detections(x, params[0], bandwidth=bandwidth)
        radius = cbc_certified_radius(seen, *component_reasoning(params[1]), label, bandwidth=bandwidth)
        rays = jax.random.normal(keys[4], (DIRECTIONS, D))
        # Half of them along the line to a prototype, where its detection moves fastest.
        to_prototype = jnp.tile(params[0] - x, (DIRECTIONS // K, 1)) + 0.1 * rays
        rays = jnp.where(jnp.arange(DIRECTIONS)[:, None] % 2 == 0, rays, to_prototype)
        rays = rays * jnp.where(jnp.arange(DIRECTIONS)[:, None] % 4 < 2, 1, -1)
        rays = jnp.minimum(radius, 1e3) * rays / jnp.linalg.norm(rays, axis=-1, keepdims=True)
        wrong = [jnp.argmax(probabilities(params, x + size * rays, bandwidth), -1) != label for size in (0.999, 3.0)]
        return radius, *(jnp.sum(each) for each in wrong)

    keys = jax.random.split(jax.random.key(0), MODELS + 60)
    radius, inside, beyond = map(np.asarray, flips(keys, jnp.arange(MODELS + 60) < MODELS))
    assert (radius > 0).all()
    assert inside.sum() == 0
    assert np.mean(beyond > 0) > 0.1  # the radius is not so small that the test is empty


def test_radius_is_attained_on_a_line():
    """Prototypes on either side of x: a step along the line is the worst case, so the bound is tight."""
    prototypes = jnp.array([[-1.0], [1.0]])
    reasoning = jnp.eye(2), jnp.zeros((2, 2))
    for x in (-0.3, -0.05):
        seen = rbf_detections(jnp.array([x]), prototypes, bandwidth=0.7)
        radius = cbc_certified_radius(seen, *reasoning, jnp.array(0), bandwidth=0.7)
        np.testing.assert_allclose(radius, -x, rtol=1e-5)


def worst_margin(log_u, seen, positive, negative, label, rival):
    """The margin when every detection moves against the label, by the definition of the probabilities."""
    weight = positive - negative
    against = weight[:, label] > weight[:, rival]
    moved = seen * np.exp(np.where(against, -log_u, log_u))
    p = moved @ weight + negative.sum(0)
    return p[label] - p[rival]


def drawn(seed):
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(2 * K), C).T
    return rng.uniform(0.05, 1, K), shares[:K], shares[K:]


def test_equals_the_root_of_the_worst_margin():
    compared = 0
    for seed in range(20):
        seen, positive, negative = drawn(seed)
        label = int(np.argmax(seen @ (positive - negative) + negative.sum(0)))
        arrays = (np.float32(a) for a in (seen, positive, negative))
        found = cbc_certified_radius(*arrays, np.array(label), bandwidth=2.0)
        margins = [
            functools.partial(worst_margin, seen=seen, positive=positive, negative=negative, label=label, rival=rival)
            for rival in range(C)
            if rival != label
        ]
        roots = [brentq(margin, 0, 40) for margin in margins if margin(40) < 0]
        np.testing.assert_allclose(found, 2 * min(roots), rtol=2e-5)
        compared += 1
    assert compared == 20


def test_radius_is_zero_exactly_where_the_margin_is():
    seen, positive, negative = map(np.float32, drawn(3))
    order = np.argsort(seen @ (positive - negative) + negative.sum(0))
    radius = [cbc_certified_radius(seen, positive, negative, label, bandwidth=1.0) for label in order]
    assert radius[0] == radius[1] == 0  # misclassified
    assert radius[2] > 0
    tie = jnp.ones((K, 2)) / K, jnp.zeros((K, 2))
    assert cbc_certified_radius(seen, *tie, np.array(0), bandwidth=1.0) == 0
    # A small margin gives a small radius in proportion: rho = h m / (A+ + A-) to first order.
    for margin in (1e-3, 1e-5):
        reasoning = jnp.eye(2), jnp.zeros((2, 2))
        near = cbc_certified_radius(jnp.array([0.5 + margin, 0.5]), *reasoning, jnp.array(0), bandwidth=1.0)
        np.testing.assert_allclose(near, margin / 1.0, rtol=0.01)


def test_infinite_where_nothing_helps_the_other_class():
    # Class 0 reasons that the prototype is absent, class 1 that it is there, and it is never seen.
    absent = jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 0.0]])
    assert cbc_certified_radius(jnp.zeros(1), *absent, jnp.array(0), bandwidth=1.0) == jnp.inf
    # Every prototype speaks for class 0 at least as much as for class 1, and so does the constant.
    dominated = jnp.array([[0.6, 0.3], [0.2, 0.1]]), jnp.array([[0.1, 0.1], [0.1, 0.1]])
    assert cbc_certified_radius(jnp.array([0.1, 0.3]), *dominated, jnp.array(0), bandwidth=1.0) == jnp.inf
    # Nothing speaks for class 1 but its constant: u = A+ / -b.
    constant = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [0.0, 0.2]])
    found = cbc_certified_radius(jnp.array([0.8, 0.0]), *constant, jnp.array(0), bandwidth=1.0)
    np.testing.assert_allclose(found, np.log(0.8 / 0.2), rtol=1e-6)


def test_labels_out_of_range_and_hidden_rows():
    seen, positive, negative = map(np.float32, drawn(0))
    rows = np.stack([seen, seen, np.full(K, np.nan, np.float32)])
    where = np.array([True, True, False])
    found = cbc_certified_radius(rows, positive, negative, np.array([-1, C, 0]), bandwidth=1.0, where=where)
    np.testing.assert_array_equal(found, [np.nan, np.nan, 0])


@pytest.fixture(scope="module")
def trained():
    """Components trained on digits by the margin loss: parameters, bandwidth, test rows."""
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    train, test = np.arange(600), np.arange(600, 900)
    first = np.concatenate([np.flatnonzero(y[train] == c)[:2] for c in range(10)])
    bandwidth = median_bandwidth(x[train], x[first])
    theta = 0.6 + 0.2 * np.random.default_rng(0).normal(size=(40, 10)).astype(np.float32)

    def loss(params):
        p = probabilities(params[:2], x[train], bandwidth * jnp.exp(params[2]))
        return jnp.mean(template_margin(p, np.arange(10), y[train], margin=0.3))

    start = (x[first], theta, jnp.zeros(()))
    found = jax.jit(lambda start: minimize(loss, start, optax.adam(0.05), num_steps=150).params)(start)
    return found[:2], bandwidth * jnp.exp(found[2]), x[test], y[test]


def test_no_gradient_attack_violates_the_certificate_on_digits(trained):
    params, bandwidth, x, y = trained

    @jax.jit
    def attacked(x, y):
        seen = rbf_detections(x, params[0], bandwidth=bandwidth)
        radius = cbc_certified_radius(seen, *component_reasoning(params[1]), y, bandwidth=bandwidth)

        def loss(z):
            return template_margin(probabilities(params, z, bandwidth), jnp.arange(10), y, margin=1.0)

        wrong = [jnp.argmax(probabilities(params, x, bandwidth), -1) != y]
        for factor in (0.999, 5.0):
            size = factor * radius
            near = projected_gradient_attack(loss, x, eps=size, step=size / 8, num_iters=24, norm="l2")
            wrong.append(jnp.argmax(probabilities(params, near, bandwidth), -1) != y)
        return radius, *wrong

    radius, plain, inside, beyond = map(np.asarray, attacked(x, y))
    assert plain.mean() < 0.25
    np.testing.assert_array_equal(radius == 0, plain)
    assert np.median(radius) > 0.05
    np.testing.assert_array_equal(inside, plain)  # wrong stays wrong: its radius is 0
    assert beyond.mean() > plain.mean() + 0.2


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"detections": jnp.ones((2, 3))}, ValueError, r"detections must have shape \[2, 4\]"),
        ({"negative": jnp.ones((4, 2))}, ValueError, "positive and negative must have the same shape"),
        ({"positive": jnp.ones((4, 1)), "negative": jnp.ones((4, 1))}, ValueError, "at least 2 classes"),
        ({"labels": jnp.zeros(2)}, TypeError, "labels must hold integers"),
        ({"bandwidth": -1.0}, ValueError, "bandwidth must be > 0"),
        ({"bandwidth": jnp.ones(3)}, ValueError, "bandwidth must be a number or have shape"),
        ({"detections": jnp.ones((2, 4), int)}, TypeError, "detections must be floating point"),
    ],
)
def test_bad_input(change, error, words):
    good = {
        "detections": jnp.ones((2, 4)),
        "positive": jnp.ones((4, 3)),
        "negative": jnp.ones((4, 3)),
        "labels": jnp.zeros(2, int),
        "bandwidth": 1.0,
    }
    with pytest.raises(error, match=words):
        cbc_certified_radius(**good | change)
