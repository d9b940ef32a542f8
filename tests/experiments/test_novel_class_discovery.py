"""The question of novel classes: which rows see what, how they are judged, and a quick run of its networks."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from experiments import discovery_generalised, discovery_networks, discovery_online, discovery_splits
from experiments import novel_class_discovery as question
from experiments.command_line import answer
from experiments.data import Dataset
from experiments.discovery_splits import Group
from experiments.runner import Method
from jaxlab import continual, losses, weaksup

Y = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [20, 30, 25, 20, 40])).astype(np.int32)
X = np.random.default_rng(1).uniform(size=(len(Y), 8, 8)).astype(np.float32)


def data(x=X, y=Y, kind="images", name="mine"):
    return Dataset(x, y, kind, name, int(y.max()) + 1, np.unique(y), "")


def run(*numbers):
    keys = jax.vmap(jax.random.key)(jnp.array(numbers))
    return types.SimpleNamespace(seeds=len(numbers), seed_keys=lambda: keys)


def test_split_gives_every_class_as_many_rows():
    found = discovery_splits.split(data(), run(0, 1), test_share=0.2)
    assert found.train.shape == (2, 5, 16)
    assert found.test.shape == (2, 5, 4)
    for classes, train, test in zip(found.classes, found.train, found.test, strict=True):
        assert sorted(classes.tolist()) == [0, 1, 2, 3, 4]
        for label, rows in zip(classes, np.concatenate([train, test], axis=1), strict=True):
            assert (Y[rows] == label).all()
            assert len(np.unique(rows)) == 20
    assert (found.classes[0] != found.classes[1]).any()
    alone = discovery_splits.split(data(), run(1), test_share=0.2)  # a seed's rows do not depend on the others
    np.testing.assert_array_equal(alone.train[0], found.train[1])


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.3, 7), (0.01, 8), (0.99, 2)])
def test_at_least_two_classes_are_known_and_two_novel(share, expected):
    assert discovery_splits.num_known(share, 10) == expected


def test_gather_numbers_the_classes():
    x, y = discovery_splits.gather(jnp.arange(12.0)[:, None], jnp.array([[3, 4], [7, 1]]), first=5)
    assert x[:, 0].tolist() == [3, 4, 7, 1]
    assert y.tolist() == [5, 5, 6, 6]


def test_inputs_lie_in_the_unit_range():
    large = np.repeat(np.repeat(4 * X, 2, 1), 2, 2)
    for images in (X, large, np.stack([X, X, X], -1)):
        x = discovery_splits.inputs(data(images))
        assert x.shape == (len(Y), 64)
        assert (x.min(), x.max()) == (0, 1)
    table = X.reshape(len(Y), -1)[:, :3] * [1, 10, 0]
    x = discovery_splits.inputs(data(table.astype(np.float32), kind="features"))
    assert x.min(0).tolist() == [0, 0, 0]
    assert x.max(0).tolist() == [1, 1, 0]


def test_accuracies_use_one_matching_for_all():
    rng = np.random.default_rng(2)
    labels, predicted = rng.integers(4, size=(2, 200))
    table = np.zeros((4, 4), int)
    np.add.at(table, (predicted, labels), 1)
    matched = linear_sum_assignment(-table)[1][predicted]
    found = discovery_splits.accuracies(jnp.asarray(predicted), jnp.asarray(labels), num_classes=4, num_known=3)
    for name, chosen in (("all", labels >= 0), ("known", labels < 3), ("novel", labels == 3)):
        assert float(found[name]) == pytest.approx(np.mean(matched[chosen] == labels[chosen]))
    # A novel class that is taken for the only, smaller, known one: its cluster is the novel class's.
    taken = discovery_splits.accuracies(jnp.zeros(5, int), jnp.array([0, 0, 1, 1, 1]), num_classes=2, num_known=1)
    assert (float(taken["known"]), float(taken["novel"])) == (0, 1)


def test_views_are_shifted_by_a_pixel_and_noisy():
    config = question.Config(view_noise=0.0)
    dot = jnp.zeros((300, 8, 8)).at[:, 4, 4].set(1.0).reshape(300, 64)
    both = np.asarray(discovery_networks.views(config, jax.random.key(0), dot, jnp.array(True)))
    places = both.argmax(-1)
    assert set(places.ravel()) == {8 * row + column for row in (3, 4, 5) for column in (3, 4, 5)}
    assert (places[0] != places[1]).any()
    still = discovery_networks.views(config, jax.random.key(0), dot, jnp.array(False))
    np.testing.assert_array_equal(still[0], dot)
    noisy = discovery_networks.views(question.Config(view_noise=0.2), jax.random.key(0), dot, jnp.array(False))
    assert np.std(noisy - dot) == pytest.approx(0.2, rel=0.05)


def test_teachers_grow_sharper():
    shares = discovery_generalised.WARM, discovery_online.WARM_OFFLINE, discovery_online.WARM_ONLINE
    assert shares == (0.15, 0.3, 1.0)
    for share in shares:
        of = functools.partial(discovery_networks.teacher_temperature, num_steps=100, share=share)
        at = [float(of(jnp.array(step))) for step in (0.0, 50 * share, 100 * share, 100.0)]
        np.testing.assert_allclose(at, [0.07, 0.055, 0.04, 0.04], rtol=1e-5)


SMALL = question.Config(hidden=16, width=16, batch=16)


@pytest.fixture(scope="module")
def drawn():
    """Parameters of a network, two views of twelve rows, their labels, and a key."""
    params = discovery_networks.init(SMALL, jax.random.key(0), 5, 4)
    views = jax.random.normal(jax.random.key(1), (2, 12, 5))
    return params, views, jnp.array([0, 1, 2, -1] * 3), jax.random.key(2)


def log_probs(logits):
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_the_loss_of_lego_gcd_is_the_published_sum(drawn):
    params, views, labels, _ = drawn
    prior, is_known = weaksup.ClassPrior(jnp.array([0.1, 0.2, 0.3, 0.4])), jnp.arange(4) < 2
    simgcd, logits = discovery_networks.simgcd(SMALL, params, views, labels, 0.05)
    p, q = (log_probs(logits[view] / 0.1) for view in (0, 1))
    gap = np.mean(np.sum(np.exp(p) * (p - q), axis=-1))
    z = np.asarray(logits, np.float64).reshape(-1, 4)
    chosen = np.tile(labels < 0, 2) & (z.argmax(1) < 2) & (np.exp(log_probs(z / 0.1)).max(1) >= 0.7)
    assert chosen.any()
    margins = log_probs(z / 0.05 + 0.4 * np.log(prior.probs))
    sharp = np.mean(np.where(chosen, -np.sum(np.exp(log_probs(z / 0.05)) * margins, axis=1), 0.0))
    assert min(gap, sharp) > 1e-3
    for name, weights in discovery_generalised.GROUP.weights.items():
        loss, _ = discovery_generalised.lego(
            SMALL, params, prior, views, labels, weights=weights, is_known=is_known, temperature=0.05
        )
        dual, entropy = {"simgcd": (0, 0), "simgcd_ler": (0, 2), "simgcd_dkl": (0.65, 0)}.get(name, (0.65, 2))
        np.testing.assert_allclose(loss, simgcd + dual * gap + entropy * sharp, rtol=1e-5)


def test_the_loss_of_happy_is_the_published_sum(drawn):
    params, views, _, key = drawn
    before = discovery_networks.init(SMALL, jax.random.key(3), 5, 4)
    prototypes = jnp.eye(16)[:2]
    seed = discovery_online.Online(None, before, prototypes, 0.3)
    logits = discovery_networks.cosines(SMALL, params, views)
    p, teacher = log_probs(logits / 0.1), np.exp(log_probs(logits / 0.05))
    swapped = -np.mean(np.sum(teacher * p[::-1], axis=-1))
    contrast = discovery_networks.contrast(discovery_networks.projected(SMALL, params, views))
    now, then = (np.asarray(discovery_networks.features(SMALL, one, views)) for one in (params, before))
    now, then = (one / np.linalg.norm(one, axis=-1, keepdims=True) for one in (now, then))
    kept = np.mean(np.sum((now - then) ** 2, axis=-1))
    rows = continual.sample_prototypes(key, prototypes, 0.3, num=32, temperature=SMALL.hardness_temperature)
    unit = rows.features / np.linalg.norm(rows.features, axis=1, keepdims=True)
    classes = params["classes"] / np.linalg.norm(params["classes"], axis=1, keepdims=True)
    replay = -np.mean(log_probs(unit @ classes.T / 0.1)[np.arange(32), rows.labels])
    assert min(kept, replay) > 0.1
    for name, weights in discovery_online.GROUP.weights.items():
        loss, _ = discovery_online.happy(SMALL, seed, params, views, key, weights=weights, temperature=0.05)
        expected = swapped + contrast + kept + discovery_online.spread(weights, logits, 2)
        np.testing.assert_allclose(loss, expected + replay * (name == "happy"), rtol=1e-5)


def test_spread_is_zero_where_predictions_are_even_and_grows_where_new_classes_vanish():
    logits = jnp.tile(jnp.eye(6), (2, 2, 1))
    weights = {
        name: discovery_online.GROUP.weights[name] for name in ("online_plain", "online_entropy", "online_grouped")
    }
    vanished = logits - 2.0 * (jnp.arange(6) >= 3)
    of = jax.jit(discovery_online.spread, static_argnums=2)
    even, gone = ({name: float(of(w, z, 3)) for name, w in weights.items()} for z in (logits, vanished))
    assert max(even.values()) == pytest.approx(0, abs=1e-5)
    assert gone["online_plain"] == 0
    assert gone["online_entropy"] == pytest.approx(2 * np.log(2), rel=1e-3)  # half of the classes are left
    assert gone["online_grouped"] == pytest.approx(2 * np.log(2), rel=1e-3)  # and one group, even inside
    # Five old classes and one new, all even: only the groups are out of balance.
    entropy, grouped = (float(of(weights[name], logits, 5)) for name in ("online_entropy", "online_grouped"))
    mass = losses.mean_entropy(jnp.log(jnp.array([[5.0, 1.0]])))
    assert (entropy, grouped) == (pytest.approx(0, abs=1e-5), pytest.approx(2 * (np.log(2) - float(mass)), rel=1e-3))


def test_online_rows_are_not_those_learned_with_labels():
    config = question.Config()
    digits = data(y=np.tile(np.arange(9), 15).astype(np.int32), x=X)
    rows = jax.tree.map(lambda leaf: leaf[0], discovery_splits.split(digits, run(3), test_share=0.2))
    numbers = jnp.arange(135.0)[:, None]
    (offline, y), (online, truth), known = discovery_online._parts(config, rows, numbers)
    assert known == 5
    assert not set(np.asarray(offline).ravel()) & set(np.asarray(online).ravel())
    assert set(np.asarray(y)) == set(range(5))
    assert set(np.asarray(truth)) == set(range(7))  # two of the four novel classes come


def test_rows_that_differ_in_weights_are_one_program():
    calls = []

    def fn(config, seed, x, weight):
        calls.append(1)
        return {"value": seed + weight * x}, {"curve": jnp.stack([seed, weight])}

    rows = tuple(Method(name, None, fn) for name in ("a", "b", "c"))
    group = Group(rows, (), lambda *_: None, "vmap", {"a": 0.0, "b": 1.0, "c": 10.0})
    prepared = lambda: (jnp.array([100.0, 200.0]), (jnp.array(3.0),))  # noqa: E731
    made = {}
    found = {
        row.name: question._measure(question.Config(), group, prepared, [rows[0], rows[2]], made, row)
        for row in (rows[0], rows[2])
    }
    assert found["a"].metrics["value"].tolist() == [100, 200]
    assert found["c"].metrics["value"].tolist() == [130, 230]
    assert found["c"].curves["curve"].tolist() == [[100, 10], [200, 10]]
    assert len(calls) == 1
    alone = Group((Method("d", None, lambda config, seed, x: {"value": seed - x}),), (), lambda *_: None)
    found = question._measure(question.Config(), alone, prepared, [], {}, alone.rows[0])
    assert found.metrics["value"].tolist() == [97, 197]


MINE = [row.name for row in question.METHODS if row.paper in (138, 252, 257)]


def test_quick_run_of_the_networks(quick_run):
    names = ["kmeans_features", "swapped", "simgcd", "online_start", "online_plain", *MINE]
    found = quick_run(question, "--dataset", "digits", "--methods", ",".join(names))
    rows = found["rows"]
    assert set(rows["ncd_novel"]) == {"kmeans_features", "swapped", "cr_kd"}
    assert set(rows["gcd_known"]) == {"simgcd", "simgcd_ler", "simgcd_dkl", "lego_gcd"}
    assert set(rows["online_old"]) == {"online_start", "online_plain", "online_grouped", "happy"}
    assert min(map(min, rows["ncd_known"].values())) > 0.7
    assert rows["ncd_relation_kl"]["cr_kd"] != rows["ncd_relation_kl"]["swapped"]
    judged = {claim["paper"] for claim in found["claims"] if claim["verdict"] == "not judged"}
    assert {138, 252, 257} <= judged
    confusion = np.array(found["curves"]["confusion"]["happy"])
    np.testing.assert_allclose(confusion.sum(-1), 1, rtol=1e-5)


def test_every_paper_has_a_claim():
    papers = {row.paper for row in question.METHODS} - {None}
    assert papers == {138, 186, 252, 257, 280} == {claim.paper for claim in question.CLAIMS}


def test_data_that_cannot_be_used(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.ones((20, 3)), y=np.arange(20) % 4)
    assert answer(question, ["--data", "few.npz", "--methods", "simgcd"]) == 2
    assert "Known and novel classes need 4 classes of 8 rows at least" in capsys.readouterr().err
    assert answer(question, ["--dataset", "digits", "--novel-share", "1.5"]) == 2
    assert "novel_share must lie in (0, 1), got 1.5" in capsys.readouterr().err
    assert answer(question, ["--dataset", "digits", "--online-steps", "0"]) == 2
    assert "online_steps must be at least 1, got 0" in capsys.readouterr().err
