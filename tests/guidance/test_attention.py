"""Guidance on the features of attention layers, against numpy, scipy and jax's own attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

from jaxlab import guidance

rng = np.random.default_rng(8)


def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)


Q, K_POS, V_POS = draw(2, 3, 4, 5), draw(2, 3, 6, 5), draw(2, 3, 6, 5)
K_NEG, V_NEG = draw(2, 3, 2, 5), draw(2, 3, 2, 5)


def attention(q, k, v):
    return scipy.special.softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]), axis=-1) @ v


def nasa(**changes):
    given = {"q": Q, "k_pos": K_POS, "v_pos": V_POS, "k_neg": K_NEG, "v_neg": V_NEG}
    return guidance.negative_away_attention(**(given | changes))


def test_nasa_subtracts_the_attention_to_the_negative():
    expected = attention(Q, K_POS, V_POS) - 0.3 * attention(Q, K_NEG, V_NEG)
    np.testing.assert_allclose(nasa(scale=0.3), expected, atol=1e-5)
    scales = np.array([0.0, 1.5], np.float32)
    each = attention(Q, K_POS, V_POS) - scales[:, None, None, None] * attention(Q, K_NEG, V_NEG)
    np.testing.assert_allclose(nasa(scale=scales), each, atol=1e-5)
    library = [jax.nn.dot_product_attention(*(a.swapaxes(1, 2) for a in given)).swapaxes(1, 2)
               for given in ((Q, K_POS, V_POS), (Q, K_NEG, V_NEG))]  # fmt: skip
    np.testing.assert_allclose(nasa(scale=0.3), guidance.attention_away(*library, scale=0.3), atol=1e-5)


def test_nasa_is_neutral_at_zero_and_shrinks_where_the_conditions_agree():
    np.testing.assert_allclose(nasa(scale=0.0), attention(Q, K_POS, V_POS), atol=1e-5)
    same = nasa(k_neg=K_POS, v_neg=V_POS, scale=0.25)
    np.testing.assert_allclose(same, 0.75 * attention(Q, K_POS, V_POS), atol=1e-5)


def test_nasa_is_linear_in_the_values_and_knows_no_order_of_keys():
    np.testing.assert_allclose(nasa(v_pos=2 * V_POS, v_neg=2 * V_NEG), 2 * np.asarray(nasa()), atol=1e-5)
    order = np.array([3, 1, 5, 0, 2, 4])
    turned = nasa(k_pos=K_POS[:, :, order], v_pos=V_POS[:, :, order], k_neg=K_NEG[:, :, ::-1], v_neg=V_NEG[:, :, ::-1])
    np.testing.assert_allclose(turned, nasa(), atol=1e-6)


def test_nasa_is_not_attention_to_all_keys_together():
    together = attention(Q, np.concatenate([K_POS, K_NEG], 2), np.concatenate([V_POS, -0.3 * V_NEG], 2))
    assert np.abs(nasa(scale=0.3) - together).max() > 0.1


def test_hidden_tokens_count_for_nothing():
    where_pos = np.array([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]], bool)
    where_neg = np.array([[0, 0], [1, 0]], bool)
    k_pos, v_neg = np.where(where_pos[:, None, :, None], K_POS, np.nan), V_NEG.copy()
    v_neg[0], v_neg[1, :, 1] = np.inf, np.nan
    got = nasa(k_pos=k_pos, v_neg=v_neg, where_pos=where_pos, where_neg=where_neg, scale=0.5)
    for b in range(2):
        expected = attention(Q[b], K_POS[b][:, where_pos[b]], V_POS[b][:, where_pos[b]])
        if where_neg[b].any():
            expected -= 0.5 * attention(Q[b], K_NEG[b][:, where_neg[b]], V_NEG[b][:, where_neg[b]])
        np.testing.assert_allclose(got[b], expected, atol=1e-5)
    nothing = nasa(where_pos=np.zeros((2, 6), bool), where_neg=np.zeros((2, 2), bool))
    np.testing.assert_array_equal(nothing, 0.0)


Z, Z_NEG, Z_POS = draw(3, 4, 5), draw(3, 4, 5), draw(3, 4, 5)
GAIN, BIAS = draw(5), draw(5)


def length(a):
    return np.sqrt((a**2).sum((1, 2), keepdims=True))


def test_sun_subtracts_a_branch_of_the_same_length():
    got = guidance.sun_attention(Z, Z_NEG, gain=GAIN, bias=BIAS)
    np.testing.assert_allclose(got, Z - (GAIN * length(Z) / length(Z_NEG) * Z_NEG + BIAS), atol=1e-5)
    branch = Z - guidance.sun_attention(Z, Z_NEG, gain=1.0, bias=0.0)
    np.testing.assert_allclose(length(branch), length(Z), rtol=1e-5)
    assert np.abs(branch).max() > 0.1  # so at gain 1 the layer is not the frozen one
    for factor in (1e-8, 7.0, 1e20):
        np.testing.assert_allclose(guidance.sun_attention(Z, factor * Z_NEG, gain=GAIN, bias=BIAS), got, atol=1e-5)


def test_sun_can_take_lengths_over_the_batch_as_released():
    got = guidance.sun_attention(Z, Z_NEG, gain=GAIN, bias=BIAS, per_sample=False)
    expected = Z - (GAIN * np.linalg.norm(Z) * Z_NEG / np.linalg.norm(Z_NEG) + BIAS)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert np.abs(got - guidance.sun_attention(Z, Z_NEG, gain=GAIN, bias=BIAS)).max() > 1e-3


def test_sun_adds_a_positive_branch():
    affine = {"gain": GAIN, "bias": BIAS}
    np.testing.assert_allclose(guidance.sun_attention(Z, Z_POS, z_pos=Z_POS, **affine), Z, atol=1e-5)
    own = guidance.sun_attention(Z, Z_NEG, z_pos=Z_POS, gain_pos=2.0, bias_pos=1.0, **affine)
    expected = guidance.sun_attention(Z, Z_NEG, **affine) + 2.0 * length(Z) / length(Z_POS) * Z_POS + 1.0
    np.testing.assert_allclose(own, expected, atol=1e-5)


def test_sun_without_gain_or_without_a_branch_is_plain():
    np.testing.assert_array_equal(guidance.sun_attention(Z, Z_NEG, gain=0.0, bias=0.0), Z)
    np.testing.assert_array_equal(guidance.sun_attention(Z, 0 * Z, gain=GAIN, bias=0.0), Z)
    np.testing.assert_array_equal(guidance.sun_attention(0 * Z, Z_NEG, gain=GAIN, bias=0.0), 0 * Z)


H, REF = draw(2, 6, 3), draw(4, 3)


def merged(h, ref, alpha, threshold):
    """The paper's rule, token by token."""
    out = h.copy()
    for b in range(len(h)):
        refs = ref if ref.ndim == 2 else ref[b]
        cosines = 1 - scipy.spatial.distance.cdist(h[b], refs, "cosine")
        for i, j in enumerate(cosines.argmax(1)):
            if cosines[i, j] > threshold:
                out[b, i] = (1 + alpha) * h[b, i] - alpha * refs[j]
    return out


@pytest.mark.parametrize("ref", [REF, draw(2, 4, 3)])
def test_tokens_move_away_from_their_best_reference_token(ref):
    got = np.asarray(guidance.negative_token_merge(H, ref, alpha=0.9, threshold=0.65))
    expected = merged(H, ref, 0.9, 0.65)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    moved = (expected != H).any(-1)
    assert moved.any()
    assert not moved.all()
    turned = guidance.negative_token_merge(H, ref[..., ::-1, :], alpha=0.9, threshold=0.65)
    np.testing.assert_allclose(turned, got, atol=1e-6)


def test_the_distance_to_the_reference_grows_by_alpha():
    got = guidance.negative_token_merge(H, REF[:1], alpha=0.5, threshold=-2.0)
    np.testing.assert_allclose(np.linalg.norm(got - REF[0], axis=-1), 1.5 * np.linalg.norm(H - REF[0], axis=-1), 1e-5)


def test_merging_is_neutral_where_nothing_is_alike():
    for setting in ({"alpha": 0.0}, {"threshold": 1.0}, {"where": np.zeros(4, bool)}):
        np.testing.assert_array_equal(guidance.negative_token_merge(H, REF, **({"threshold": -2.0} | setting)), H)
    np.testing.assert_allclose(guidance.negative_token_merge(H, H), H, atol=1e-6)  # each its own reference
    np.testing.assert_array_equal(guidance.negative_token_merge(0 * H, REF), 0 * H)


def test_hidden_reference_tokens_are_not_chosen():
    where, poisoned = np.array([True, False, True, False]), np.where([[1], [0], [1], [0]], REF, np.nan)
    got = guidance.negative_token_merge(H, poisoned.astype(np.float32), where=where)
    np.testing.assert_allclose(got, merged(H, REF[where], 0.9, 0.65), atol=1e-5)


def released(h, ref, alpha, threshold):
    """What the authors' code computes: the largest cosine over the tokens of the OTHER image, for each token of ref."""
    out = h.copy()
    for b in range(len(h)):
        cosines = 1 - scipy.spatial.distance.cdist(h[b], ref, "cosine")
        best = cosines.argmax(0)
        far = cosines.max(0) > threshold
        out[b] = np.where(far[:, None], (1 + alpha) * h[b] - alpha * ref[best], h[b])
    return out


def test_the_released_choice_is_another_one():
    ref = draw(6, 3)
    got = guidance.negative_token_merge(H, ref, threshold=0.5, match="released")
    np.testing.assert_allclose(got, released(H, ref, 0.9, 0.5), atol=1e-5)
    assert np.abs(got - guidance.negative_token_merge(H, ref, threshold=0.5)).max() > 0.1
    one = [guidance.negative_token_merge(H[:, :1], ref[:1], threshold=-2.0, match=m) for m in ("released", "paper")]
    np.testing.assert_allclose(*one, atol=1e-6)


def test_only_the_tokens_that_were_chosen_have_a_gradient():
    def first(h, ref):
        return jnp.sum(guidance.negative_token_merge(h, ref, alpha=0.9, threshold=0.65))

    for_h, for_ref = jax.grad(first, (0, 1))(H, REF)
    cosines = np.stack([1 - scipy.spatial.distance.cdist(h, REF, "cosine") for h in H])
    moved = cosines.max(-1) > 0.65
    np.testing.assert_allclose(for_h, np.where(moved, 1.9, 1.0)[..., None] * np.ones(3), rtol=1e-5)
    counts = np.bincount(cosines.argmax(-1)[moved], minlength=4)
    np.testing.assert_allclose(for_ref, -0.9 * counts[:, None] * np.ones(3), rtol=1e-5)


def test_random_scales_fill_the_interval():
    scales = guidance.random_scale(jax.random.key(0), 4000)
    assert scales.shape == (4000,)
    assert 0.5 <= scales.min() < 0.51
    assert 3.99 < scales.max() < 4.0
    np.testing.assert_allclose(scales.mean(), 2.25, atol=0.05)
    np.testing.assert_allclose(np.sort(scales), np.linspace(0.5, 4.0, 4000), atol=0.1)
    assert guidance.random_scale(jax.random.key(0), 3, low=2.0, high=3.0).min() >= 2.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: guidance.attention_away(Z, Z[:2], scale=1.0), ValueError, "z_pos and z_neg"),
        (lambda: guidance.attention_away(Z, Z, scale=jnp.ones(4)), ValueError, r"scale must .* \[3\]"),
        (lambda: guidance.attention_away(Z, Z.astype(int), scale=1.0), TypeError, "z_neg"),
        (lambda: nasa(q=Q[0]), ValueError, "q must have shape"),
        (lambda: nasa(k_neg=K_NEG[:, :, :, :4], v_neg=V_NEG[:, :, :, :4]), ValueError, "k_neg must have shape"),
        (lambda: nasa(k_pos=K_POS[:, :, :0], v_pos=V_POS[:, :, :0]), ValueError, "M >= 1"),
        (lambda: nasa(v_pos=V_POS[:, :, :3]), ValueError, "k_pos and v_pos"),
        (lambda: nasa(where_neg=jnp.ones((2, 3), bool)), ValueError, "where_neg"),
        (lambda: nasa(where_pos=jnp.ones((2, 6))), TypeError, "where_pos"),
        (lambda: guidance.sun_attention(Z, Z_NEG[:, :2], gain=1.0, bias=0.0), ValueError, "z and z_neg"),
        (lambda: guidance.sun_attention(Z, Z_NEG, gain=jnp.ones(4), bias=0.0), ValueError, "gain must broadcast"),
        (lambda: guidance.sun_attention(Z[0, 0], Z[0, 0], gain=1.0, bias=0.0), ValueError, "z must have shape"),
        (lambda: guidance.negative_token_merge(H, REF[:, :2]), ValueError, "ref must hold"),
        (lambda: guidance.negative_token_merge(H, draw(3, 4, 3)), ValueError, "ref must hold"),
        (lambda: guidance.negative_token_merge(H, REF, match="best"), ValueError, "match"),
        (lambda: guidance.negative_token_merge(H, REF, match="released"), ValueError, "as many tokens"),
        (lambda: guidance.negative_token_merge(H, REF, where=jnp.ones(5, bool)), ValueError, "where"),
        (lambda: guidance.random_scale(jax.random.key(0), 0), ValueError, "batch"),
        (lambda: guidance.random_scale(jax.random.key(0), 2, low=5.0), ValueError, "low"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
