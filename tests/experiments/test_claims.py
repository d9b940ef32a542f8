"""Verdicts: the interval against an independent one, and every outcome of every operator."""

import math

import numpy as np
import pytest
import scipy.stats

from experiments.claims import Claim, difference, interval, judge, ratio


def verdict(effect, op, threshold, **options):
    rows = {"accuracy": {"a": np.asarray(effect, float), "b": np.zeros(len(effect))}}
    claim = Claim(7, "a above b", lambda rows: rows["accuracy"]["a"] - rows["accuracy"]["b"], op, threshold)
    return judge(claim, rows, **{"seeds": len(effect), **options})


def test_effects_compare_two_methods_seed_by_seed():
    rows = {"error": {"a": [2.0, 9.0], "b": np.array([1.0, 3.0])}}
    np.testing.assert_array_equal(difference("error", "a", "b")(rows), [1.0, 6.0])
    np.testing.assert_array_equal(ratio("error", "a", "b")(rows), [2.0, 3.0])
    absent = judge(Claim(7, "a below c", difference("error", "a", "c"), "<", 0.0), rows, seeds=2)
    assert (absent.verdict, absent.reason) == ("not run", "nothing measured under 'c'")


@pytest.mark.parametrize("n", [2, 5, 20])
def test_interval_is_the_t_interval_of_scipy(n):
    values = np.random.default_rng(n).normal(0.3, 2.0, n)
    wanted = scipy.stats.t.interval(0.95, n - 1, loc=values.mean(), scale=scipy.stats.sem(values))
    np.testing.assert_allclose(interval(values), wanted, rtol=1e-9)


def test_interval_of_two_seeds_is_wide():
    low, high = interval([0.0, 2.0])  # mean 1, standard error 1, t = 12.706
    assert (low, high) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-3)


# The interval of (0.09, 0.10, 0.11) is 0.1 +- 0.02484.
@pytest.mark.parametrize(
    ("op", "threshold", "wanted"),
    [
        (">", 0.07, "holds"),
        (">", 0.10, "undecided"),
        (">", 0.13, "fails"),
        ("<", 0.13, "holds"),
        ("<", 0.10, "undecided"),
        ("<", 0.07, "fails"),
        ("within", 0.13, "holds"),
        ("within", 0.10, "undecided"),
        ("within", 0.07, "fails"),
    ],
)
def test_outcomes(op, threshold, wanted):
    found = verdict([0.09, 0.10, 0.11], op, threshold)
    assert (found.verdict, found.op, found.threshold, found.paper) == (wanted, op, threshold, 7)
    assert found.effect == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.07516, 0.12484), abs=1e-5)


@pytest.mark.parametrize(
    ("effect", "wanted"),
    [([-0.09, -0.10, -0.11], "fails"), ([-0.01, 0.0, 0.01], "holds"), ([-0.2, 0, 0.2], "undecided")],
)
def test_within_looks_at_both_sides(effect, wanted):
    assert verdict(effect, "within", 0.07).verdict == wanted


@pytest.mark.parametrize(
    ("op", "threshold", "wanted"),
    [
        (">", 0.1, "fails"),  # not above it
        ("<", 0.1, "fails"),
        ("within", 0.1, "holds"),  # the boundary counts as inside
        (">", 0.0999, "holds"),
        ("<", 0.1001, "holds"),
        ("within", 0.0999, "fails"),
        ("within", 0.0, "fails"),
    ],
)
def test_equal_seeds_give_a_point(op, threshold, wanted):
    found = verdict([0.1, 0.1, 0.1], op, threshold)  # their mean, computed, is above 0.1
    assert found.verdict == wanted
    assert found.interval == (0.1, 0.1)


def test_equality_holds_within_zero():
    assert verdict([0.0, 0.0], "within", 0.0).verdict == "holds"


def test_seeds_are_paired():
    common = np.array([0.2, 0.5, 0.8, 0.3, 0.6])  # the seeds differ far more than the methods do
    rows = {"accuracy": {"a": common + 0.05, "b": common}}
    claim = Claim(1, "a above b", lambda rows: rows["accuracy"]["a"] - rows["accuracy"]["b"], ">", 0.02)
    assert judge(claim, rows, seeds=5).verdict == "holds"


def test_quick_and_one_seed_judge_nothing():
    quick = verdict([0.5, 0.5, 0.5], ">", 0.0, quick=True)
    assert (quick.verdict, quick.effect, quick.interval) == ("not judged", 0.5, (0.5, 0.5))
    single = verdict([0.5], ">", 0.0)
    assert (single.verdict, single.effect, single.interval) == ("not judged", 0.5, None)


@pytest.mark.parametrize(
    ("effect", "reason"),
    [
        (lambda rows: rows["accuracy"]["absent"], "absent"),
        (lambda rows: rows["absent"]["a"], "absent"),
        (lambda rows: rows["accuracy"]["broken"], "row broken broke"),
        (lambda rows: rows["accuracy"].get("absent") - 1, "TypeError"),
        (lambda rows: rows["accuracy"]["a"] / 0, "not finite"),
        (lambda rows: rows["accuracy"]["a"] * np.nan, "not finite"),
        (lambda rows: rows["accuracy"]["a"][:2], "shape [2]"),
        (lambda rows: 1.0, "shape []"),
        (lambda rows: rows[["unhashable"]], "TypeError"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_not_run(effect, reason):
    rows = {"accuracy": {"a": np.ones(3), "broken": np.ones(3)}}
    found = judge(Claim(1, "?", effect, ">", 0.0), rows, seeds=3, broken={"broken"})
    assert found.verdict == "not run"
    assert reason in found.reason
    assert found.effect is None


@pytest.mark.parametrize(("op", "threshold"), [(">=", 0.0), (">", math.nan), ("<", math.inf), ("within", -0.1)])
def test_a_claim_that_cannot_be_decided_is_refused(op, threshold):
    with pytest.raises(ValueError, match=r"op must be|threshold must be"):
        Claim(1, "?", lambda rows: 0.0, op, threshold)
