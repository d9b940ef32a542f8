"""Softmax-free attention: the Newton inverse, its one-step gradient, and the attention it stands in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import kernels, nn

RNG = np.random.default_rng(0)


def tokens(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def test_newton_inverts_kernel_matrices_and_matrices_that_are_not_symmetric():
    kernel = kernels.gaussian_kernel(2.0 * tokens(3, 6, 4), bandwidth=1.0)
    wanted = np.linalg.inv(np.asarray(kernel, np.float64) + 0.01 * np.eye(6))
    np.testing.assert_allclose(nn.newton_inverse(kernel), wanted, rtol=1e-3, atol=1e-4)
    general = tokens(5, 5) + 3.0 * np.eye(5, dtype=np.float32)
    np.testing.assert_allclose(nn.newton_inverse(general, ridge=0.0) @ general, np.eye(5), atol=1e-4)


def test_newton_squares_the_residual():
    matrix = kernels.gaussian_kernel(2.0 * tokens(6, 4), bandwidth=1.0)

    def residual(num_iters, **options):
        return np.eye(6) - np.asarray(nn.newton_inverse(matrix, num_iters=num_iters, ridge=0.0, **options)) @ matrix

    for options in ({}, {"line_search": True}):
        np.testing.assert_allclose(residual(3, **options), residual(2, **options) @ residual(2, **options), atol=1e-4)


def test_line_search_halves_the_step_of_a_full_matrix():
    matrix = jnp.full((4, 4), 0.5) + 0.5 * jnp.eye(4)
    alpha = 1.8 / 2.5**2
    square = np.asarray(matrix @ matrix)
    while np.abs(np.eye(4) - alpha * square).sum(0).max() > 1.01:
        alpha /= 2
    assert alpha < 1.8 / 2.5**2
    start = alpha * np.asarray(matrix)
    wanted = 2 * start - start @ matrix @ start
    np.testing.assert_allclose(nn.newton_inverse(matrix, num_iters=1, ridge=0.0, line_search=True), wanted, rtol=1e-5)


@pytest.mark.parametrize("line_search", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.01, 0.1, 1.0])
def test_eigenvalues_that_reach_the_bound_are_inverted_too(ridge, line_search):
    """Where rows sum to the largest eigenvalue the step is as long as it may be."""
    for matrix in (np.eye(3), 0.1 * np.eye(3), np.diag([2.0, 4.0]), np.array([[1.0, 0.5], [0.5, 1.0]])):
        found = nn.newton_inverse(jnp.asarray(matrix, jnp.float32), ridge=ridge, line_search=line_search)
        np.testing.assert_allclose(found, np.linalg.inv(matrix + ridge * np.eye(len(matrix))), rtol=1e-4, atol=1e-4)


def test_gradient_is_that_of_the_inverse_and_does_not_pass_the_iteration():
    matrix, weight = kernels.gaussian_kernel(2.0 * tokens(5, 4), bandwidth=1.0), tokens(5, 5)
    ours = jax.grad(lambda a: jnp.sum(weight * nn.newton_inverse(a)))(matrix)
    exact = jax.grad(lambda a: jnp.sum(weight * jnp.linalg.inv(a + 0.01 * jnp.eye(5))))(matrix)
    np.testing.assert_allclose(ours, exact, rtol=2e-3, atol=1e-3)
    # After one iteration the value is far off, and so is the gradient: it is the formula at that value.
    early = nn.newton_inverse(matrix, num_iters=1)
    one = jax.grad(lambda a: jnp.sum(weight * nn.newton_inverse(a, num_iters=1)))(matrix)
    np.testing.assert_allclose(one, -early.T @ weight @ early.T, rtol=1e-4, atol=1e-5)


def test_all_tokens_as_landmarks_give_the_exact_attention():
    q, v = 2.0 * tokens(2, 6, 4), tokens(2, 6, 3)
    exact = kernels.gaussian_kernel(q, bandwidth=1.0) @ v
    np.testing.assert_allclose(nn.softmax_free_attention(q, v, q, ridge=0.0, num_iters=30), exact, atol=1e-3)


def test_landmarks_normalisation_and_translation():
    q, v, landmarks = tokens(7, 4), tokens(7, 3), 1.5 * tokens(4, 4)
    outer = np.asarray(kernels.gaussian_kernel(q, landmarks, bandwidth=1.0), np.float64)
    inner = np.asarray(kernels.gaussian_kernel(landmarks, bandwidth=1.0), np.float64)
    wanted = outer @ np.linalg.inv(inner + 0.01 * np.eye(4)) @ outer.T @ v
    np.testing.assert_allclose(nn.softmax_free_attention(q, v, landmarks), wanted, rtol=1e-3, atol=1e-3)
    root = np.diag(inner.sum(1) ** -0.5)
    wanted = outer @ root @ np.linalg.inv(inner) @ root @ outer.T @ v
    normalized = nn.softmax_free_attention(q, v, landmarks, normalize=True, num_iters=30)
    np.testing.assert_allclose(normalized, wanted, rtol=1e-3, atol=1e-3)
    moved = nn.softmax_free_attention(q + 3.0, v, landmarks + 3.0)
    np.testing.assert_allclose(moved, nn.softmax_free_attention(q, v, landmarks), atol=1e-3)
    half = nn.softmax_free_attention(*(jnp.asarray(x, jnp.bfloat16) for x in (q, v, landmarks)))
    assert half.dtype == jnp.bfloat16
    assert bool(jnp.all(jnp.isfinite(half)))


@pytest.mark.parametrize("normalize", [False, True])
def test_block_by_hand(normalize):
    grid, heads, ratio, dim = (4, 6), 2, 2, 8
    params = nn.softmax_free_block_init(jax.random.key(0), dim, heads=heads, ratio=ratio, hidden=5)
    params = jax.tree.map(lambda p: p + 0.1 * RNG.standard_normal(p.shape).astype(np.float32), params)
    x = tokens(2, 24, dim)
    q = (x @ params["q"]["kernel"] + params["q"]["bias"]).reshape(2, 24, heads, 4) / 4**0.25
    v = (x @ params["v"]["kernel"] + params["v"]["bias"]).reshape(2, 24, heads, 4)
    convolve = lambda image, kernel, **kw: jax.lax.conv_general_dilated(  # noqa: E731
        image, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **kw
    )
    out = []
    for head in range(heads):
        one, value = q[:, :, head], v[:, :, head]
        pooled = convolve(
            one.reshape(2, *grid, 4), params["landmarks"]["kernel"], window_strides=(2, 2), padding="VALID"
        )
        marks = jax.nn.standardize(pooled.reshape(2, 6, 4), epsilon=1e-5)
        marks = jax.nn.gelu(marks * params["landmarks"]["scale"] + params["landmarks"]["bias"], approximate=False)
        filters = jnp.tile(params["conv"][:, :, None, head, None], (1, 1, 1, 4))
        local = convolve(
            value.reshape(2, *grid, 4), filters, window_strides=(1, 1), padding="SAME", feature_group_count=4
        )
        out.append(nn.softmax_free_attention(one, value, marks, normalize=normalize) + local.reshape(2, 24, 4))
    merged = jnp.concatenate(out, -1) @ params["proj"]["kernel"] + params["proj"]["bias"]
    norm = lambda p, z: jax.nn.standardize(z, epsilon=1e-5) * p["scale"] + p["bias"]  # noqa: E731
    y = norm(params["norm1"], x + merged)
    inner = jax.nn.gelu(y @ params["mlp_in"]["kernel"] + params["mlp_in"]["bias"], approximate=True)
    wanted = norm(params["norm2"], y + inner @ params["mlp_out"]["kernel"] + params["mlp_out"]["bias"])
    np.testing.assert_allclose(
        nn.softmax_free_block(params, x, grid=grid, normalize=normalize), wanted, rtol=1e-3, atol=1e-3
    )


def test_bad_input():
    with pytest.raises(ValueError, match=r"matrix must have shape \[\.\.\., M, M\], got \[2, 3\]"):
        nn.newton_inverse(jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="ridge"):
        nn.newton_inverse(jnp.eye(2), ridge=-1.0)
    with pytest.raises(ValueError, match="landmarks must have the width 4 of q"):
        nn.softmax_free_attention(jnp.ones((5, 4)), jnp.ones((5, 4)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match="v must have the 5 tokens of q"):
        nn.softmax_free_attention(jnp.ones((5, 4)), jnp.ones((6, 4)), jnp.ones((2, 4)))
    params = nn.softmax_free_block_init(jax.random.key(0), 4, heads=1, ratio=2)
    with pytest.raises(ValueError, match=r"tokens must have shape \[\.\.\., 4 \* 4, 4\]"):
        nn.softmax_free_block(params, jnp.ones((15, 4)), grid=(4, 4))
    with pytest.raises(ValueError, match="the width of grid"):
        nn.softmax_free_block(params, jnp.ones((12, 4)), grid=(4, 3))
    with pytest.raises(ValueError, match="conv_size must be odd, got 2"):
        nn.softmax_free_block_init(jax.random.key(0), 4, heads=1, ratio=2, conv_size=2)
