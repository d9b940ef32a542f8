"""Self-supervised objectives: views, the loss without stop-gradient, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data
from experiments import self_supervised_objectives as question
from experiments.command_line import answer
from jaxlab import losses
from jaxlab.numerics import normalize


def test_views_are_moved_images_with_noise():
    shared = question.share(data.load("digits"))
    assert shared.moves.shape == (9, 64)
    x = np.zeros((1, 64), np.float32)
    x[0, 3 * 8 + 3] = 1
    seen = {int(np.argmax(x[0][np.asarray(move)])) for move in shared.moves}
    assert seen == {8 * i + j for i in (2, 3, 4) for j in (2, 3, 4)}
    pair = question.views(question.Config(view_noise=0.1), jax.random.key(0), jnp.repeat(x, 500, 0), shared.moves)
    assert pair.shape == (2, 500, 64)
    places = np.argmax(pair, axis=-1)
    assert set(np.unique(places)) == seen
    assert (places[0] != places[1]).mean() > 0.7
    off = np.sort(np.asarray(pair), axis=-1)[..., :-1]
    assert abs(off.std() - 0.1) < 0.01


def test_two_calls_are_the_loss_without_stop_gradient():
    p, z = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)

    def both(p, z):
        return jnp.mean(losses.feature_alignment(p, z) + losses.feature_alignment(z, p))

    def plain(p, z):
        return jnp.mean(1 - jnp.sum(normalize(p) * normalize(z), axis=-1))

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        *(jax.grad(fn, argnums=(0, 1))(p, z) for fn in (both, plain)),
    )


def test_the_quick_run(quick_run):
    found = quick_run(question, "--dataset", "digits")
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    names = {method.name for method in question.METHODS}
    rows = found["rows"]
    assert set(rows["accuracy"]) == set(rows["spread"]) == names
    assert len({tuple(values) for values in rows["spread"].values()}) == len(names)  # no two rules are the same
    assert min(rows["accuracy"]["direct_pred"]) > 0.3
    assert max(rows["spread"]["no_stop_gradient"]) < min(rows["spread"]["direct_pred"])
    assert np.shape(found["curves"]["spectrum"]["direct_pred"]) == (2, 16)


def test_bad_settings(tmp_path, capsys):
    with pytest.raises(ValueError, match="test_share must lie in"):
        question.Config(test_share=0.0)
    np.savez(tmp_path / "few.npz", x=np.random.default_rng(0).random((30, 5)), y=np.arange(30) % 3)
    assert answer(question, ["--data", str(tmp_path / "few.npz")]) == 2
    assert "--labels" in capsys.readouterr().err
