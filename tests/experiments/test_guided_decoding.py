"""The question of guided decoding: its sequences, its models, its measures, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import guided_decoding as question
from experiments import guided_sequences as rows_of
from experiments.assets import captions as words
from experiments.assets import sequences
from experiments.assets import text_windows as windows

METHODS = "cfg_2,cca,held_out,gumbel_flow,stg_gumbel,caption_cfg"


def test_the_quick_run(quick_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = quick_run(question, "--methods", METHODS)
    assert {claim["verdict"] for claim in result["claims"]} <= {"not judged", "not run"}
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in result["rows"].items()}
    assert set(rows["accuracy"]) == {"cfg_2", "cca"}
    np.testing.assert_array_equal(rows["calls_per_token"]["cfg_2"], 2 * rows["calls_per_token"]["cca"])
    assert (rows["bigram_distance"]["held_out"] < rows["bigram_distance"]["gumbel_flow"]).all()
    largest = question.name_of("rise", rows_of.FLOW_SCALES[-1])
    assert (rows[largest]["stg_gumbel"] > 0.5).all()
    assert all((rows[f"recall_{s:g}"]["caption_cfg"] >= 0).all() for s in rows_of.CAPTION_SCALES)
    assert all(
        ((rows[f"rouge_{s:g}"]["caption_cfg"] > 0) & (rows[f"rouge_{s:g}"]["caption_cfg"] <= 1)).all() for s in (1, 2)
    )


PIXELS = sequences.PixelConfig(length=9, levels=3, classes=2, hidden=16)


def test_no_token_sees_itself_or_those_after_it():
    params = sequences._init(PIXELS, jax.random.key(0))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 3, (1, 9)))
    every = jnp.concatenate([tokens.at[:, i].set((tokens[:, i] + 1) % 3) for i in range(9)])
    labels = jnp.zeros(9, int)
    moved = sequences.pixel_logits(PIXELS, params, every, labels)
    moved -= sequences.pixel_logits(PIXELS, params, tokens, labels[:1])
    changed = np.abs(moved).max(-1) > 1e-5
    assert not np.tril(changed).any()  # changing token i moves no logits up to i
    assert changed[:-1, -1].all()  # and moves those of the last one
    other = sequences.pixel_logits(PIXELS, params, tokens, jnp.array([1]))
    # The first token has no hidden unit: its class acts by the bias, which is learned.
    assert (other != sequences.pixel_logits(PIXELS, params, tokens, jnp.array([0])))[:, 1:].all()


def test_grey_levels_cover_the_range():
    tokens = sequences.grey_levels(np.linspace(-2.0, 6.0, 16).reshape(2, 2, 4), 4)
    np.testing.assert_array_equal(tokens, np.repeat(np.arange(4), 4).reshape(2, 8))
    np.testing.assert_allclose(sequences.as_images(jnp.asarray(tokens[0]), 4)[jnp.array([0, -1])], [-1.0, -1 / 3])


def test_windows_are_text_by_kinds():
    text = "def f(x1):\n\n  return Value_"
    kinds = [list(windows.KINDS)[token] for token in windows._encode(text)]
    assert kinds[:6] == ["obstruent", "vowel", "obstruent", "blank", "obstruent", "bracket"]
    assert kinds[7:11] == ["digit", "bracket", "mark", "blank"]
    assert kinds[11] == "sonorant"  # the run of blanks is one
    data = windows.windows(16, 200)
    assert data.tokens.shape == (200, 16)
    assert data.is_code.sum() == 100
    pairs = np.asarray(windows.bigrams(jnp.array([[0, 1, 1], [1, 1, 2]])))
    np.testing.assert_allclose([pairs.sum(), pairs[0, 1], pairs[1, 1], pairs[1, 2]], [1.0, 0.25, 0.5, 0.25])


def test_captions_say_what_is_there_and_less():
    thick, thin = np.zeros((2, 8, 8))
    thick[1:7, 2:6], thin[1:7, 3] = 1.0, 1.0
    leaning = np.zeros((8, 8))
    leaning[np.arange(8), 7 - np.arange(8)] = 1.0
    images = np.stack([thick, thin, leaning] * 40)
    thickness, slant = words.attributes(images)
    np.testing.assert_array_equal(thickness[:2], [1, -1])
    assert slant[2] == 1  # the top lies to the right
    written = words.write(images, np.arange(120) % 3, 0)
    said = [words.sentence(tokens) for tokens in written.tokens]
    assert all("thin" not in text for text in said[::3])
    assert any("thick" in text for text in said[::3])
    assert any("thick" not in text for text in said[::3])
    assert all(("one" in text) or ("digit" in text) or ("number" in text) for text in said[1::3])
    lengths = [len(text.split()) + 1 for text in said]
    np.testing.assert_array_equal(written.where.sum(1), lengths)
    assert max(lengths) <= words.LENGTH


def test_captions_share_words_with_the_written_ones():
    spell = lambda *said: jnp.array([[*(words.WORDS.index(word) for word in s.split()), *[0] * 3] for s in said])  # noqa: E731
    said, written = spell("a thick one", "a digit number"), spell("a one thin", "an image of")
    counts = jnp.array([[True] * 4 + [False] * 2] * 2)  # up to the end token
    np.testing.assert_allclose(rows_of.shared_words(said, counts, written, counts), (2 / 3 + 0.0) / 2, rtol=1e-6)


def test_half_of_the_gain_of_the_best_scale():
    accuracy = {"plain": 0.5, "cfg_1.5": 0.6, "cfg_2": 0.9, "cfg_3": 0.7, "cca": 0.75}
    rows = {"accuracy": {name: np.array([value]) for name, value in accuracy.items()}}
    np.testing.assert_allclose(question._half_of_guidance(rows), [0.25 - 0.2])


def test_the_best_rise_keeps_the_likelihood():
    rise, fall = [0.2, 0.5, 1.5, 3.0, 9.0], [0.0, 0.05, 0.1, 0.3, 0.5]
    rows = {}
    for i, scale in enumerate(rows_of.FLOW_SCALES):
        rows[question.name_of("rise", scale)] = {"stg": np.array([rise[i], -1.0])}
        rows[question.name_of("fall", scale)] = {"stg": np.array([fall[i], 0.9])}
    np.testing.assert_array_equal(question.best_rise("stg")(rows), [1.5, 0.0])


def test_settings_are_checked():
    with pytest.raises(ValueError, match="samples must be at least 10"):
        question.Config(samples=5)
