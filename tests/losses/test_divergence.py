"""How two networks relate the examples of a batch."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from jaxlab import losses

rng = np.random.default_rng(4)
A = rng.normal(size=(5, 3)).astype(np.float32)
B = rng.normal(size=(5, 4)).astype(np.float32)


def cosines_of_others(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return np.array([np.delete(unit @ unit[i], i) for i in range(len(x))])


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_cosine_mode_leaves_the_row_itself_out(temperature):
    p, q = (softmax(cosines_of_others(x) / temperature, axis=1) for x in (B, A))
    got = losses.relation_kl(A, B, temperature=temperature)
    np.testing.assert_allclose(got, entropy(p, q, axis=1), rtol=1e-4, atol=1e-6)


def test_dot_mode_takes_the_row_itself():
    p, log_p, log_q = softmax(B @ B.T, axis=1), log_softmax(B @ B.T, axis=1), log_softmax(A @ A.T, axis=1)
    expected = np.sum(p * (log_p - log_q), axis=1)
    np.testing.assert_allclose(losses.relation_kl(A, B, mode="dot"), expected, rtol=1e-4, atol=1e-5)


def test_scaled_dot_divides_each_side_by_the_root_of_its_own_width():
    got = losses.relation_kl(A, B, mode="scaled_dot")
    np.testing.assert_allclose(got, losses.relation_kl(A / 3**0.25, B / 4**0.25, mode="dot"), rtol=1e-4, atol=1e-6)
    assert np.abs(np.asarray(got) - losses.relation_kl(A, B, mode="dot")).max() > 0.1


def test_attention_relations_ignore_a_rotation_inside_each_head():
    values = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)  # examples, heads, tokens, width
    turns = np.linalg.qr(rng.normal(size=(3, 4, 4)))[0].astype(np.float32)
    turned = np.einsum("bhnd,hde->bhne", values, turns)
    np.testing.assert_allclose(losses.relation_kl(turned, values, mode="scaled_dot"), 0.0, atol=1e-5)
    across = values[:, [1, 2, 0]]  # the same numbers under other heads
    assert np.asarray(losses.relation_kl(across, values, mode="scaled_dot")).mean() > 0.1


def test_the_length_of_a_row_matters_to_dot_alone():
    longer = A * np.array([[2.0], [0.1], [5.0], [1.0], [30.0]], np.float32)
    heads = losses.relation_kl(jnp.stack([A, longer]), jnp.stack([A, A]))
    np.testing.assert_allclose(heads, 0.0, atol=1e-6)
    dot = np.asarray(losses.relation_kl(jnp.stack([A, longer]), jnp.stack([A, A]), mode="dot"))
    np.testing.assert_allclose(dot[0], 0.0, atol=1e-6)
    assert (dot >= -1e-6).all()
    assert dot[1].max() > 0.1


def test_two_rows_have_no_relation_to_compare_by_cosines_alone():
    gradient = jax.grad(lambda x: jnp.sum(losses.relation_kl(x, B[:2])))(jnp.asarray(A[:2]))
    np.testing.assert_allclose(losses.relation_kl(A[:2], B[:2]), 0.0, atol=1e-7)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)
    assert np.asarray(losses.relation_kl(A[:2], B[:2], mode="dot")).max() > 1e-3


def test_the_target_passes_no_gradient():
    slopes = jax.grad(lambda x, y: jnp.sum(losses.relation_kl(x, y)), argnums=(0, 1))(jnp.asarray(A), jnp.asarray(B))
    np.testing.assert_array_equal(slopes[1], 0.0)
    assert np.abs(slopes[0]).max() > 1e-3


BAD = {
    "rows": (lambda: losses.relation_kl(A, B[:4]), ValueError, "same leading axes"),
    "one axis": (lambda: losses.relation_kl(A[0], A[0]), ValueError, "[..., N, D]"),
    "mode": (lambda: losses.relation_kl(A, B, mode="l2"), ValueError, "mode must be one of"),
    "temperature": (lambda: losses.relation_kl(A, B, temperature=0.0), ValueError, "temperature must be > 0"),
    "integers": (lambda: losses.relation_kl(np.ones((3, 2), int), B), TypeError, "features must be floating"),
    "where": (lambda: losses.relation_kl(A, B, where=jnp.ones(4, bool)), ValueError, "where must have shape [5]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
