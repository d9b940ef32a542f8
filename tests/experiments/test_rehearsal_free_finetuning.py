"""The question of trained bodies: what each row holds, and a quick run of classes and prompts from end to end."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import prompted_streams as prompts
from experiments import regularized_streams as held
from experiments import rehearsal_free_finetuning as question
from experiments.command_line import answer
from experiments.ledger import Result
from jaxlab import detect

RNG = np.random.default_rng(0)
CLASSES, TASKS, ROWS = 6, 2, 30
CENTERS = RNG.normal(size=(CLASSES, 64))
Y = np.stack([RNG.permutation(np.arange(ROWS) % 4), 4 + RNG.permutation(np.arange(ROWS) % 2)])
X = (CENTERS[Y] + 0.3 * RNG.normal(size=(TASKS, ROWS, 64))).astype(np.float32)
WHERE = np.arange(ROWS) < np.array([[ROWS], [20]])
HOLDS = {
    "everyone": held.Hold(everyone=1.0),
    "local": held.Hold(),
    "l2": held.Hold(weights=10.0),
    "ewc": held.Hold(important_weights=1e4),
    "predictions": held.Hold(predictions=10.0),
    "features": held.Hold(features=100.0),
}


def two_tasks(learner):
    first = learner.update(learner.init(jax.random.key(0)), X[0], Y[0], where=WHERE[0])
    return first, learner.update(first, X[1], Y[1], where=WHERE[1])


@pytest.fixture(scope="module")
def memories():
    """What each hold leaves of the first task after the second, all in one program."""
    settings = held.Settings(hidden=16, steps=40)
    stacked = jax.tree.map(lambda *leaves: jnp.array(leaves, jnp.float32), *HOLDS.values())
    found = jax.jit(jax.vmap(lambda hold: two_tasks(held.held(settings, CLASSES, 64, hold))))(stacked)
    network = held.mlp((64, 16, 16, CLASSES))
    parts = {}
    for place, name in enumerate(HOLDS):
        before, after = (jax.tree.map(lambda leaf, place=place: leaf[place], memory) for memory in found)
        features = [network.features(memory.params, X[1]) for memory in (before, after)]
        logits = [network.logits(memory.params, X[1])[:, :4] for memory in (before, after)]
        moved = [
            (new - old).ravel()
            for new, old in zip(*(jax.tree.leaves(m.params["hidden"]) for m in (after, before)), strict=True)
        ]
        parts[name] = {
            "before": before,
            "after": after,
            "weights": float(sum(np.sum(move**2) for move in moved)),
            "important": float(
                sum(np.sum(f.ravel() * m**2) for f, m in zip(jax.tree.leaves(before.fisher), moved, strict=True))
            ),
            "features": float(np.mean((features[1] - features[0]) ** 2)),
            "predictions": float(np.mean(np.abs(jax.nn.softmax(logits[1]) - jax.nn.softmax(logits[0])))),
        }
    return parts


def test_every_row_starts_from_the_same_first_task(memories):
    local = memories["local"]["before"]
    for part in memories.values():
        for one, other in zip(jax.tree.leaves(part["before"].params), jax.tree.leaves(local.params), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(local.seen, np.arange(CLASSES) < 4)


def test_a_local_softmax_leaves_the_heads_of_other_classes_as_they_were(memories):
    for name, part in memories.items():
        old, new = (np.asarray(part[when].params["head"]["kernel"]) for when in ("before", "after"))
        assert (old[:, 4:] != new[:, 4:]).any()
        assert ((old[:, :4] == new[:, :4]).all()) == (name not in ("everyone", "predictions"))


@pytest.mark.parametrize(
    ("name", "what"),
    [("l2", "weights"), ("ewc", "important"), ("predictions", "predictions"), ("features", "features")],
)
def test_each_penalty_keeps_what_it_is_named_for(memories, name, what):
    assert memories[name][what] < 0.7 * memories["local"][what]


def test_importance_is_of_both_tasks(memories):
    before, after = (memories["ewc"][when].fisher for when in ("before", "after"))
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (np.asarray(one) >= 0).all()
        assert (np.asarray(other) >= np.asarray(one)).all()
    assert sum(np.sum(leaf) for leaf in jax.tree.leaves(before)) > 0


@pytest.fixture(scope="module")
def prompted():
    """The two tasks with and without outliers, and the frozen transformer."""
    settings = prompts.QUICK
    body = prompts.body_init(settings, jax.random.key(1), 64)
    choices = prompts.Choice(jnp.array([0.0, 1.0]), jnp.array([False, False]))
    options = {"neighbors": 5, "border": 5, "outliers": 10, "last_steps": 30}
    settings = dataclasses.replace(settings, **options)
    learn = lambda choice: two_tasks(prompts.prompted(settings, CLASSES, body, choice, prompt=True))  # noqa: E731
    first, second = jax.jit(jax.vmap(learn))(choices)
    return settings, body, first, second


def test_one_prompt_serves_all_tasks(prompted):
    settings, _, first, second = prompted
    for size, old, new in zip(
        settings.prompt_lengths, *(memory.params["prompts"].values() for memory in (first, second)), strict=True
    ):
        assert old.shape == new.shape == (2, size, settings.width)
        assert np.abs(new - old).max() > 1e-3  # the second task goes on from the first one's
    old, new = (np.asarray(memory.params["head"]["kernel"])[0] for memory in (first, second))
    np.testing.assert_array_equal(old[:, :4], new[:, :4])
    np.testing.assert_array_equal(first.threshold, second.threshold)


def test_outliers_part_the_energies(prompted):
    """With the margin the task's own rows lie lower, and remote points higher, than without."""
    settings, body, first, _ = prompted
    length = np.sqrt(settings.width)
    options = {"num_keep": 10, "k": 5, "num_boundary": 5, "samples_per_point": 20}

    @jax.jit
    @jax.vmap
    def gap(params):
        features = prompts.features_of(settings, body, params["prompts"], X[0])
        remote = length * detect.virtual_outliers(jax.random.key(5), features / length, **options)
        logits = [prompts.head_logits(params["head"], rows)[:, :4] for rows in (features, remote)]
        own, invented = (-detect.energy(values).mean() for values in logits)
        return invented - own, jnp.linalg.norm(features, axis=1)

    gaps, lengths = gap(first.params)
    np.testing.assert_allclose(lengths, length, rtol=1e-3)
    assert gaps[1] > gaps[0] + 0.1


def test_prompts_change_what_the_frozen_transformer_sees(prompted):
    settings, body, first, _ = prompted
    prompt = jax.tree.map(lambda leaf: leaf[0], first.params["prompts"])
    without, with_prompt = (
        jax.jit(functools.partial(prompts.features_of, settings))(body, one, X[0]) for one in ({}, prompt)
    )
    assert np.abs(without - with_prompt).max() > 0.1


def test_tokens():
    image = np.arange(64.0).reshape(1, 64)
    tokens = prompts.tokens_of(image)
    assert tokens[0, 1].tolist() == [2, 3, 10, 11]
    assert prompts.tokens_of(np.ones((2, 20))).shape == (2, 16, 2)


def test_rows_side_by_side_equal_rows_apart():
    fn = lambda choice, seed, shared: ({"sum": choice.weights * seed + shared}, {"curve": seed * jnp.ones(2)})  # noqa: E731
    choices = {"one": held.Hold(weights=1.0), "two": held.Hold(weights=2.0)}
    found = held.side_by_side(fn, choices, jnp.arange(3.0), shared=(jnp.float32(10),))
    np.testing.assert_allclose(found["one"].metrics["sum"], [10, 11, 12])
    np.testing.assert_allclose(found["two"].metrics["sum"], [10, 12, 14])
    np.testing.assert_allclose(found["two"].curves["curve"][2], [2, 2])


def test_names_are_unique_and_every_paper_has_a_claim():
    names = [method.name for method in question.METHODS]
    assert len(set(names)) == len(names)
    assert {20, 69, 152, 188, 191, 208} <= {claim.paper for claim in question.CLAIMS}
    assert set(question.HELD + question.OTHERS) == {m.name for m in (*held.ROWS, *prompts.ROWS)}
    assert set(question.MATRICES) <= set(names)


def test_a_figure_of_nothing(tmp_path):
    question.plot(Result("rehearsal_free_finetuning", "digits", 2)).savefig(tmp_path / "figure.png")


def test_quick_run(quick_run):
    methods = [*question.HELD[:-1], "learned_vectors", "random_targets", "semantic_targets", "one_prompt", "ovor"]
    found = quick_run(question, "--methods", ",".join(methods))
    rows = {metric: {name: np.array(values) for name, values in row.items()} for metric, row in found["rows"].items()}
    assert set(rows["final_accuracy"]) == set(methods)
    final = rows["final_accuracy"]
    assert (final["local_softmax"] > final["finetune"] + 0.15).all()
    assert (rows["forgetting"]["finetune"] > 0.9).all()
    assert (rows["forgetting_stepwise"]["finetune"] < 0.7).all()  # the other definition
    moved = rows["vectors_moved"]
    assert (moved["semantic_targets"] == 0).all()
    assert (moved["random_targets"] < 1e-6).all()  # the compiler may draw them twice, alike to rounding
    assert (moved["learned_vectors"] > 1e-3).all()
    assert (rows["energy_of_first_task"]["ovor"] < 0).all()
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged", "not run"}


def test_too_few_classes_is_one_sentence(tmp_path, capsys):
    np.savez(tmp_path / "four.npz", x=RNG.normal(size=(40, 3)), y=np.arange(40) % 4)
    argv = ["--data", str(tmp_path / "four.npz"), "--quick", "--methods", "l2", "--out", str(tmp_path / "out")]
    assert answer(question, argv) == 2
    assert "need more than 4 classes, four has 4" in capsys.readouterr().err
