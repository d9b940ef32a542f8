"""The question of implicit feedback: its texts, its lists, its models, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import implicit_feedback, recommenders
from experiments.assets import feedback
from experiments.click_models import MODELS, _initial, _logits, _loss
from experiments.data import load
from experiments.errors import UserError

CONFIG = implicit_feedback.Config()


def test_baskets_hold_words_of_other_texts():
    found = feedback.baskets(60, 80, 150)
    assert found.users.shape == found.others.shape == (60, 80)
    assert len(set(found.words)) == 80
    assert found.others.sum(0).max() <= 10
    assert found.users.any(1).mean() > 0.9
    with pytest.raises(UserError, match="words that may be items"):
        feedback.baskets(60, 100_000, 150)
    with pytest.raises(UserError, match="texts of 150 words, not 200000"):
        feedback.baskets(100_000, 80, 150)


def test_descriptions_know_nothing_of_users_and_are_near_for_words_that_meet():
    rng = np.random.default_rng(0)
    topic = rng.integers(0, 2, 200)[:, None]
    others = rng.random((200, 20)) < np.where(topic == np.arange(20) % 2, 0.6, 0.05)
    vectors = feedback.descriptions(others, np.arange(20) < 15, 4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = np.equal.outer(np.arange(20) % 2, np.arange(20) % 2)
    cosine = unit @ unit.T
    assert cosine[same].mean() > cosine[~same].mean() + 0.3
    assert cosine[15:][same[15:]].mean() > cosine[15:][~same[15:]].mean() + 0.3  # words that are not on offer too


def test_fields_are_of_equal_frequency():
    data = load("breast_cancer")
    categories = feedback.fields(data, (0, 4), 8)
    assert categories.shape == (569, 2)
    assert np.ptp(np.bincount(categories[:, 0])) <= 3
    order = np.argsort(data.x[:, 0])
    assert (np.diff(categories[order, 0]) >= 0).all()


def test_lists_keep_what_is_held_back_apart_from_what_is_false():
    users = np.random.default_rng(0).random((30, 40)) < 0.3
    clean, dirty = (
        recommenders.dirty_clicks(users, noise=noise, test_share=0.2, length=40, seed=3) for noise in (0.0, 0.4)
    )
    np.testing.assert_array_equal(clean.test, dirty.test)
    assert not np.any(clean.false)
    assert not np.any(clean.listed & clean.test)
    for user in range(30):
        items, false = (np.asarray(a)[user][np.asarray(dirty.real)[user]] for a in (dirty.items, dirty.false))
        assert len(set(items)) == len(items)
        assert users[user, items[~false]].all()
        assert not users[user, items[false]].any()
        assert false.sum() == round(0.4 * (~false).sum())
        assert set(np.flatnonzero(dirty.listed[user])) == set(items)
        rest = np.asarray(dirty.others)[user, : int(dirty.num_others[user])]
        assert set(rest) == set(range(40)) - set(items)


def test_each_click_model_learns_alone():
    config = implicit_feedback.Config(depth=1, buckets=3, embedding=4)
    params = _initial(config, jax.random.key(0), 2)
    batch = {"categories": jnp.array([[0, 1], [2, 2], [1, 0]]), "labels": jnp.array([0.0, 1.0, 1.0])}
    logits = jnp.stack(list(_logits(params, batch["categories"]).values()))
    assert logits.shape == (6, 3)
    slope = jax.jit(jax.grad(lambda p, index: _loss(p, index, batch, None)[0]))
    parts = {"lr": {"weights", "bias"}, "dcn_v2": {"plain"}, "lcn": {"shallow"}, "ecn": {"deep"}}
    for index, name in enumerate(MODELS):
        moved = {part for part, g in slope(params, index).items() if any(np.any(leaf) for leaf in jax.tree.leaves(g))}
        assert moved - {"embedding"} == parts.get(name, {"shallow", "deep"})


def test_unit_ball():
    x = jnp.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    np.testing.assert_allclose(recommenders.unit_ball(x), [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]], rtol=1e-6)


def test_quick_run(quick_run):
    found = quick_run(implicit_feedback)
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * len(implicit_feedback.CLAIMS)
    rows = found["rows"]
    assert list(rows["recall"]) == list(implicit_feedback.RANKERS)
    assert list(rows["cold_recall"]) == list(implicit_feedback.NEWCOMERS)
    assert list(rows["auroc"]) == list(rows["auroc_product"]) == list(MODELS)
    assert set(rows["purchase_gap"]) == {"cml", "cml_decorrelated"}
    assert min(map(min, rows["auroc"].values())) > 0.8
    assert min(rows["false_share"]["pld"]) == pytest.approx(0.4 / 1.4, abs=0.02)
    curve = np.array(found["curves"]["recall_by_noise"]["pld"])
    np.testing.assert_allclose(curve[:, -1], rows["recall"]["pld"])
