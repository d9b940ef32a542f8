"""Saliencies by their formulas with an explicit Hessian, invariances, and SynFlow by Euler's theorem."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nas

RNG = np.random.default_rng(0)
ALL = ("grad_norm", "plain", "snip", "grasp", "fisher")
PARAMS = {
    "first": {"kernel": RNG.standard_normal((3, 4)).astype(np.float32), "bias": np.full(4, 0.3, np.float32)},
    "second": {"kernel": RNG.standard_normal((4, 2)).astype(np.float32)},
}
X, LABELS = RNG.standard_normal((6, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1, 0])


def taps(params, x, offsets):
    hidden = x @ params["first"]["kernel"] + params["first"]["bias"]
    hidden = hidden if offsets is None else hidden + offsets[0]
    logits = jnp.tanh(hidden) @ params["second"]["kernel"]
    logits = logits if offsets is None else logits + offsets[1]
    return logits, [hidden, logits]


def network(params, x):
    return taps(params, x, None)[0]


def rows_loss(logits):
    return -jax.nn.log_softmax(logits)[jnp.arange(6), LABELS]


scores = jax.jit(functools.partial(nas.saliency_scores, network, kinds=ALL, tap_fn=taps))


def test_all_of_them_by_the_formulas():
    found = scores(PARAMS, X, LABELS)
    assert set(found) == set(ALL)
    kernels = [PARAMS[name]["kernel"] for name in ("first", "second")]
    sizes = [kernel.size for kernel in kernels]

    def loss(flat):
        first, second = flat[: sizes[0]].reshape(3, 4), flat[sizes[0] :].reshape(4, 2)
        params = {"first": {"kernel": first, "bias": PARAMS["first"]["bias"]}, "second": {"kernel": second}}
        return jnp.mean(rows_loss(network(params, X)))

    flat = np.concatenate([kernel.ravel() for kernel in kernels])
    g, h = np.asarray(jax.grad(loss)(flat)), np.asarray(jax.hessian(loss)(flat))
    layers = np.split(g, [sizes[0]])
    expected = {
        "grad_norm": sum(map(np.linalg.norm, layers)),
        "plain": flat @ g,
        "snip": np.abs(flat * g).sum(),
        "grasp": -flat @ h @ g,
    }
    for kind, value in expected.items():
        np.testing.assert_allclose(found[kind], value, rtol=1e-4, err_msg=kind)


def test_fisher_by_one_backward_pass_per_example():
    outputs = taps(PARAMS, X, None)[1]
    total = 0.0
    for layer, output in enumerate(outputs):
        offset = lambda d: [d if i == layer else jnp.zeros_like(o) for i, o in enumerate(outputs)]  # noqa: B023, E731
        slope = jax.grad(lambda d: jnp.mean(rows_loss(taps(PARAMS, X, offset(d))[0])))(jnp.zeros_like(output))  # noqa: B023
        total += 0.5 * np.sum(np.mean((np.asarray(output) * np.asarray(slope)) ** 2, axis=0))
    np.testing.assert_allclose(scores(PARAMS, X, LABELS)["fisher"], total, rtol=1e-5)


def test_fisher_sums_over_places_before_it_squares():
    """Two places whose effects cancel count nothing."""

    def tap_fn(params, x, offsets):
        hidden = x[:, :, None] * params[0]  # [N, places, 1]
        hidden = hidden if offsets is None else hidden + offsets
        return jnp.concatenate([hidden.sum(1), jnp.zeros_like(hidden.sum(1))], -1), hidden

    options = {"kinds": ("fisher",), "tap_fn": tap_fn}
    cancel = nas.saliency_scores(None, jnp.ones((1, 1)), jnp.array([[1.0, -1.0]]), jnp.array([0]), **options)
    add = nas.saliency_scores(None, jnp.ones((1, 1)), jnp.array([[1.0, 1.0]]), jnp.array([0]), **options)
    assert float(cancel["fisher"]) == 0.0
    assert float(add["fisher"]) > 1e-3


def test_hidden_units_may_be_permuted_and_snip_bounds_plain():
    order = np.array([2, 0, 3, 1])
    moved = {
        "first": {"kernel": PARAMS["first"]["kernel"][:, order], "bias": PARAMS["first"]["bias"][order]},
        "second": {"kernel": PARAMS["second"]["kernel"][order]},
    }
    here, there = scores(PARAMS, X, LABELS), scores(moved, X, LABELS)
    for kind in ALL:
        np.testing.assert_allclose(here[kind], there[kind], rtol=1e-4)
    assert float(here["snip"]) > abs(float(here["plain"]))


def test_only_selected_leaves_count():
    linear = lambda params, x: x @ params["w"] + params["b"]  # noqa: E731
    params = {"w": RNG.standard_normal((3, 2)).astype(np.float32), "b": np.ones(2, np.float32)}
    residual = np.asarray(jax.nn.softmax(linear(params, X))) - np.eye(2)[LABELS]
    found = nas.saliency_scores(linear, params, X, LABELS, kinds=("grad_norm",))
    np.testing.assert_allclose(found["grad_norm"], np.linalg.norm(X.T @ residual / 6), rtol=1e-5)
    bias = nas.saliency_scores(linear, params, X, LABELS, kinds=("plain",), select=lambda path, leaf: path == "b")
    np.testing.assert_allclose(bias["plain"], residual.mean(0).sum(), atol=1e-6)


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "kinds must name some of grad_norm, .* got synflow", {"kinds": ("synflow",)}),
        (ValueError, "got none", {"kinds": ()}),
        (ValueError, "needs tap_fn", {"kinds": ("fisher",)}),
        (ValueError, "select must choose at least one leaf", {"select": lambda path, leaf: False}),
        (ValueError, "must agree in their first 1 axes", {"labels": LABELS[:2]}),
        (TypeError, "labels must hold integers", {"labels": LABELS * 1.0}),
        (TypeError, "predicate must give a boolean", {"select": lambda path, leaf: 1}),
    ],
)
def test_bad_input(error, match, arguments):
    given = {"labels": LABELS} | arguments
    with pytest.raises(error, match=match):
        nas.saliency_scores(network, PARAMS, X, **given)


def test_a_label_out_of_range_is_nan():
    found = nas.saliency_scores(network, PARAMS, X, np.where(LABELS == 0, 5, LABELS))
    assert set(found) >= {"grad_norm", "snip", "grasp", "plain"}
    for name, value in found.items():
        assert np.isnan(value), name


# --- SynFlow

DEEP = {f"layer{i:02d}": RNG.standard_normal((8, 8)).astype(np.float32) for i in range(40)}
STAGES = [(lambda p, h, name=name: jax.nn.relu(h @ p[name])) for name in DEEP]


def test_every_layer_of_a_deep_network_carries_the_flow():
    """Euler: W . dR/dW sums to R in every layer, so the score is the depth times 1' |W_D| ... |W_1| 1."""
    flow = functools.reduce(lambda h, name: h @ np.abs(DEEP[name].astype(np.float64)), DEEP, np.ones(8))
    expected = np.log(40 * flow.sum())
    assert expected > np.log(1e25)
    found = jax.jit(lambda params: nas.log_synflow(STAGES, params, (8,)))(DEEP)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    big = {name: 100 * kernel for name, kernel in DEEP.items()}  # 1e105 is beyond float32
    scaled = jax.jit(lambda params: nas.log_synflow(STAGES, params, (8,)))(big)
    np.testing.assert_allclose(scaled, expected + 40 * np.log(100), rtol=1e-5)


def test_one_function_and_its_stages_agree():
    params = {name: DEEP[name] for name in list(DEEP)[:3]}
    whole = lambda p, x: functools.reduce(lambda h, name: jax.nn.relu(h @ p[name]), params, x)  # noqa: E731
    stages = STAGES[:3]
    np.testing.assert_allclose(nas.log_synflow(whole, params, (8,)), nas.log_synflow(stages, params, (8,)), rtol=1e-5)
    # Two streams in a state share one scale.
    parted = [
        lambda p, x: (x, x @ p["layer00"]),
        lambda p, s: (s[0], jax.nn.relu(s[1]) @ p["layer01"]),
        lambda p, s: s[0] + s[1],
    ]
    joined = lambda p, x: x + jax.nn.relu(x @ p["layer00"]) @ p["layer01"]  # noqa: E731
    np.testing.assert_allclose(nas.log_synflow(parted, params, (8,)), nas.log_synflow(joined, params, (8,)), rtol=1e-5)


def test_a_closed_network_and_no_stage():
    assert float(nas.log_synflow(lambda p, x: x @ p, jnp.zeros((3, 2)), (3,))) == -np.inf
    with pytest.raises(ValueError, match="at least one stage"):
        nas.log_synflow([], DEEP, (8,))
    with pytest.raises(ValueError, match="select must choose"):
        nas.log_synflow(STAGES, DEEP, (8,), select=lambda path, leaf: False)
