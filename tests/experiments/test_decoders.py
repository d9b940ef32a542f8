"""The decoder that questions about generators share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.assets import decoders
from experiments.assets.decoders import DecoderConfig

CONFIG = DecoderConfig(dim=4, latent=2, hidden=16, num_steps=400, batch_size=64, learning_rate=1e-2)
rng = np.random.default_rng(0)
CODES = rng.uniform(-1, 1, (300, 2)).astype(np.float32)
X = np.tanh(CODES @ np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.5, -1.5]], np.float32))


def test_it_learns_to_draw_from_normal_latents(tmp_path):
    params = decoders.decoder_asset(CONFIG, jnp.asarray(X), root=tmp_path, digest="x")

    @jax.jit
    def use(params):
        mean, log_var = decoders.encode(CONFIG, params, X)
        drawn = decoders.decode(CONFIG, params, jax.random.normal(jax.random.key(1), (500, 2)))
        return mean, log_var, decoders.decode(CONFIG, params, mean), drawn

    mean, log_var, again, drawn = map(np.asarray, use(params))
    assert np.mean((again - X) ** 2) < 0.1 * X.var()
    # Together the latents of the data are about normal, which is what makes draws look like data.
    np.testing.assert_allclose(mean.var(0) + np.exp(log_var).mean(0), 1.0, atol=0.4)
    np.testing.assert_allclose(drawn[:, 0], drawn[:, 1], atol=0.2)
    np.testing.assert_allclose(drawn[:, 2], -drawn[:, 3], atol=0.2)
    np.testing.assert_allclose(drawn.std(0), X.std(0), atol=0.2)
    assert np.abs(drawn).max() <= 1.0

    stored = decoders.decoder_asset(CONFIG, jnp.zeros((9, 4)), root=tmp_path, digest="x")  # trains nothing
    for a, b in zip(jax.tree.leaves(stored), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    other = dataclasses.replace(CONFIG, num_steps=1, latent=3)
    assert decoders.train_decoder(other, jnp.asarray(X))["decoder"]["hidden"]["dense0"]["kernel"].shape == (3, 16)
