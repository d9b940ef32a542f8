"""Infinitely wide networks: coefficients, duals, the recursion, its three limits and the singular kernel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial import hermite_e
from scipy import integrate

from jaxlab import kernels, numerics

T = np.float32([0.05, 0.3, 0.6, 0.9, 0.99])


def coefficients(dim):
    return kernels.hermite_coefficients(functools.partial(kernels.optimal_activation, dim=dim), degree=3)


def polynomial(*squares):
    return functools.partial(kernels.dual_activation, coefficients=jnp.sqrt(jnp.array(squares)))


def test_coefficients_of_polynomials_are_exact():
    wanted = np.array([0.5, -1.0, 0.0, 2.0])
    factorials = np.sqrt([1, 1, 2, 6])

    def activation(u):
        return sum(
            float(a / f) * hermite_e.HermiteE.basis(i)(u)
            for i, (a, f) in enumerate(zip(wanted, factorials, strict=True))
        )

    np.testing.assert_allclose(kernels.hermite_coefficients(activation, degree=3), wanted, atol=1e-5)


def test_coefficients_equal_the_integral():
    found = kernels.hermite_coefficients(jnp.tanh, degree=3, scale=1.7)
    density = lambda u: np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)  # noqa: E731
    for i, h in ((1, lambda u: u), (3, lambda u: (u**3 - 3 * u) / np.sqrt(6))):
        wanted, _ = integrate.quad(lambda u, h=h: np.tanh(1.7 * u) * h(u) * density(u), -10, 10)
        assert float(found[i]) == pytest.approx(wanted, abs=1e-5)
    assert found[0] == 0  # exactly: a mean of rounding size would win at infinite depth
    assert found[2] == 0


def test_dual_is_the_expectation_over_correlated_normals():
    a = np.float32([0.3, 0.5, 0.4])
    value, slope = kernels.dual_activation(T, a)
    places, weights = hermite_e.hermegauss(30)
    weights = np.outer(weights, weights) / (2 * np.pi)
    u = places[:, None]

    def phi(x):
        return a[0] + a[1] * x + a[2] * (x**2 - 1) / np.sqrt(2)

    for t, got in zip(T, value, strict=True):
        v = t * u + np.sqrt(1 - t**2) * places[None]
        assert float(got) == pytest.approx(np.sum(weights * phi(u) * phi(v)), rel=1e-5)
    np.testing.assert_allclose(slope, jax.vmap(jax.grad(lambda t: kernels.dual_activation(t, a)[0]))(T), rtol=1e-5)


def test_logarithms_are_those_of_the_dual():
    a = np.float32([0.0, 0.5, 0.0, 0.7])
    for plain, log in zip(kernels.dual_activation(T, a), kernels.dual_activation(np.log(T), a, log=True), strict=True):
        np.testing.assert_allclose(np.exp(log), plain, rtol=1e-5)
    deep, _ = kernels.dual_activation(jnp.array(-1e4), a, log=True)
    assert float(deep) == pytest.approx(-1e4 + 2 * np.log(0.5))


def test_rectifier_is_the_limit_of_its_hermite_series():
    a = numerics.normalize(kernels.hermite_coefficients(jax.nn.relu, degree=60, nodes=180))
    for got, wanted, tol in zip(kernels.relu_dual(T[:4]), kernels.dual_activation(T[:4], a), (5e-3, 5e-2), strict=True):
        np.testing.assert_allclose(got, wanted, atol=tol)


def test_rectifier_at_the_ends():
    value, slope = kernels.relu_dual(jnp.array([-1.0, 0.0, 1.0, 1.0000001]))
    np.testing.assert_allclose(value, [0, 1 / np.pi, 1, 1], atol=1e-6)
    np.testing.assert_allclose(slope, [0, 0.5, 1, 1], atol=1e-6)
    assert jax.grad(lambda t: kernels.relu_dual(t)[0])(1.0) == 1.0
    assert jax.grad(lambda t: kernels.relu_dual(t)[0])(-1.0) == 0.0


def test_recursion_by_hand():
    nngp, ntk = kernels.infinite_width_kernels(T, polynomial(0.0, 0.25, 0.75), depth=2)
    first, slope = 0.25 * T + 0.75 * T**2, 0.25 + 1.5 * T
    second, steep = 0.25 * first + 0.75 * first**2, 0.25 + 1.5 * first
    np.testing.assert_allclose(nngp, second, rtol=1e-5)
    np.testing.assert_allclose(ntk, (T * slope + first) * steep + second, rtol=1e-5)


def test_identity_and_no_layer():
    nngp, ntk = kernels.infinite_width_kernels(T, polynomial(0.0, 1.0), depth=7)
    np.testing.assert_allclose(nngp, T, rtol=1e-6)
    np.testing.assert_allclose(ntk, 8 * T, rtol=1e-6)
    np.testing.assert_array_equal(kernels.infinite_width_kernels(T, kernels.relu_dual, depth=0).ntk, T)


def test_the_kernel_of_an_input_with_itself():
    dual = functools.partial(kernels.dual_activation, coefficients=coefficients(4))
    for depth in (1, 8):
        assert float(kernels.infinite_width_kernels(jnp.array(1.0), dual, depth=depth).ntk) == pytest.approx(
            2 ** (depth + 1) - 1, rel=1e-4
        )
    assert float(kernels.infinite_width_kernels(jnp.array(1.0), kernels.relu_dual, depth=5).ntk) == pytest.approx(6)


def test_traced_depth_and_logarithms():
    a = coefficients(8)
    plain, log = (functools.partial(kernels.dual_activation, coefficients=a, log=log) for log in (False, True))
    wanted = kernels.infinite_width_kernels(T, plain, depth=5)
    traced = jax.jit(lambda depth: kernels.infinite_width_kernels(np.log(T), log, depth=depth, log=True))(jnp.array(5))
    for got, value in zip(traced, wanted, strict=True):
        np.testing.assert_allclose(np.exp(got), value, rtol=2e-5)


def test_rounding_makes_no_distance_of_an_input_with_itself():
    a = coefficients(8) * (1 - 1e-6)
    dual = functools.partial(kernels.dual_activation, coefficients=a)
    assert kernels.infinite_width_kernels(jnp.array(1.0), dual, depth=60).nngp == 1
    assert float(kernels.infinite_width_kernels(jnp.array(1 - 1e-5), dual, depth=60).nngp) < 1e-6


def test_gradient_where_correlations_are_one():
    slope = jax.grad(lambda t: kernels.infinite_width_kernels(t, kernels.relu_dual, depth=4).nngp)
    assert float(slope(1.0)) == pytest.approx(1.0)


def test_a_mean_makes_the_kernel_constant():
    dual = polynomial(0.2, 0.0, 0.4, 0.4)
    ntk = np.asarray(kernels.infinite_width_kernels(np.linspace(0, 0.99, 50, dtype=np.float32), dual, depth=40).ntk)
    assert ntk.std() / ntk.mean() < 1e-4
    shallow = np.asarray(kernels.infinite_width_kernels(np.linspace(0, 0.99, 50, dtype=np.float32), dual, depth=1).ntk)
    assert shallow.std() / shallow.mean() > 0.5


def test_without_mean_and_slope_the_nearest_neighbour_is_left():
    rng = np.random.default_rng(0)
    t = rng.uniform(0.2, 0.95, (30, 40)).astype(np.float32)
    a = jnp.sqrt(jnp.array([0.0, 0.0, 0.5, 0.5]))
    for depth in (12, 60):  # the kernel itself has underflown by then
        logs = np.asarray(kernels.singular_kernel(t, a, depth=depth))
        assert np.isfinite(logs).all()
        np.testing.assert_array_equal(logs.argmax(1), t.argmax(1))
    plain = functools.partial(kernels.dual_activation, coefficients=a)
    assert (np.asarray(kernels.infinite_width_kernels(t, plain, depth=12).nngp) == 0).mean() > 0.5


@pytest.mark.parametrize("dim", [2, 3, 4, 8])
def test_optimal_activation_has_the_exponent_of_its_dimension(dim):
    a = coefficients(dim)
    assert float(jnp.sum(a**2)) == pytest.approx(1.0, abs=1e-5)
    assert a[0] == 0
    at_zero, at_one = (float(kernels.dual_activation(jnp.array(t), a)[1]) for t in (0.0, 1.0))
    assert at_zero == pytest.approx(2 ** (-dim / 2), rel=1e-4)
    assert at_one == pytest.approx(2.0, rel=1e-5)
    assert -2 * np.log(at_zero) / np.log(at_one) == pytest.approx(dim, rel=1e-4)
    # and the singular kernel has it: a tenth of the distance is 10^dim times the kernel, up to a bounded factor.
    near = np.asarray(kernels.singular_kernel(1 - np.float32([2e-3, 2e-5]) / 2, a))
    assert near[1] - near[0] == pytest.approx(dim * np.log(10), abs=0.05)


def test_functional_equation_of_the_singular_kernel():
    a = coefficients(4)
    value, _ = kernels.dual_activation(T, a)
    logs = kernels.singular_kernel(T, a)
    np.testing.assert_allclose(kernels.singular_kernel(value, a) - logs, np.log(0.25), atol=2e-4)
    tiny = np.float32([1e-6, 1e-20])
    np.testing.assert_allclose(kernels.singular_kernel(tiny, a), np.log(tiny), rtol=1e-5)


def test_tangent_kernel_reaches_the_singular_kernel_slowly():
    a = coefficients(4)
    dual = functools.partial(kernels.dual_activation, coefficients=a, log=True)
    gaps = []
    for depth in (20, 200):
        ntk = kernels.infinite_width_kernels(np.log(T[:3]), dual, depth=depth, log=True).ntk
        scaled = np.asarray(ntk) - np.log(depth + 1) - depth * np.log(0.25)
        gaps.append(np.abs(scaled - np.asarray(kernels.singular_kernel(T[:3], a))).max())
    assert gaps[1] < 0.2 * gaps[0]
    assert gaps[1] > 1e-3


def test_training_points_are_interpolated_and_negative_correlations_have_no_vote():
    votes = jax.nn.softmax(kernels.singular_kernel(jnp.array([1.0, 0.999, -0.5, 0.0]), coefficients(4)))
    np.testing.assert_allclose(votes, [1, 0, 0, 0], atol=1e-6)
    assert votes[2] == votes[3] == 0


def test_majority_class():
    labels = jnp.array([2, 1, 1, 2, 0, 7, -1])
    assert kernels.majority_class(labels, num_classes=3) == 1
    assert kernels.majority_class(labels, num_classes=3, where=jnp.arange(7) != 1) == 2
    assert kernels.majority_class(labels, num_classes=3, where=jnp.zeros(7, bool)) == 0
    assert kernels.majority_class(jnp.zeros(3, int), num_classes=1) == 0


BAD = [
    (lambda: kernels.hermite_coefficients(jnp.tanh, degree=-1), ValueError, "degree"),
    (lambda: kernels.hermite_coefficients(jnp.tanh, degree=9, nodes=9), ValueError, "nodes"),
    (lambda: kernels.hermite_coefficients(jnp.tanh, degree=9, nodes=181), ValueError, "nodes must be at most 180"),
    (lambda: kernels.dual_activation(T, np.ones((2, 2), np.float32)), ValueError, "coefficients"),
    (lambda: kernels.dual_activation(np.arange(3), T), TypeError, "t must be floating"),
    (lambda: kernels.relu_dual(1), TypeError, "t must be floating"),
    (lambda: kernels.infinite_width_kernels(T, kernels.relu_dual, depth=-1), ValueError, "depth"),
    (lambda: kernels.infinite_width_kernels(T, kernels.relu_dual, depth=1.5), TypeError, "depth"),
    (lambda: kernels.singular_kernel(T, np.ones(1, np.float32)), ValueError, "a_0 and a_1"),
    (lambda: kernels.optimal_activation(T, dim=1), ValueError, "dim must be at least 2"),
    (lambda: kernels.majority_class(jnp.zeros(2), num_classes=2), TypeError, "labels must hold integers"),
    (lambda: kernels.majority_class(jnp.zeros((2, 2), int), num_classes=2), ValueError, "labels"),
    (lambda: kernels.majority_class(jnp.zeros(2, int), num_classes=0), ValueError, "num_classes"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
