"""The gate: who becomes champion, and why not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkloop.evaluation import mcnemar
from inkloop.gate import Candidate, Decision, GateSettings, decide

COUNT = 1000
RULES = GateSettings()
HALVES = {"first half": np.arange(COUNT) < COUNT // 2, "second half": np.arange(COUNT) >= COUNT // 2}


def model(digest: str, *wrong: range) -> Candidate:
    """A model that misreads these of 1,000 digits."""
    right = np.ones(COUNT, bool)
    for rows in wrong:
        right[rows] = False
    return Candidate(digest, right)


CHAMPION = model("champion", range(0, 20))
BETTER = model("challenger", range(0, 5))


def judged(challenger: Candidate, champion: Candidate | None = CHAMPION) -> Decision:
    return decide(challenger, champion, HALVES, settings=RULES)


@pytest.mark.parametrize(
    ("challenger", "champion", "promoted", "reason"),
    [
        (BETTER, CHAMPION, True, "better: 99.50% against the champion's 98.00% (p < 0.001), worse on no slice"),
        (BETTER, None, True, "the first champion: reads 99.50% of the test digits"),
        (model("new", range(0, 101)), None, False, "reads 89.90% of the test digits; a first champion needs 90%"),
        (model("new", range(0, 100)), None, True, "the first champion: reads 90.00%"),
        (CHAMPION, CHAMPION, False, "it is the champion already"),
        (model("new", range(0, 17)), CHAMPION, False, "not better for certain: 98.30% against"),
        (model("new", range(0, 40)), CHAMPION, False, "worse on first half, the test digits; 96.00% against"),
        (model("new", range(500, 512)), CHAMPION, False, "worse on second half; 98.80% against"),
        (model("twin", range(0, 20)), CHAMPION, False, "not better for certain: 98.00% against"),
    ],
)
def test_decisions(challenger, champion, promoted, reason):
    decision = judged(challenger, champion)
    assert (decision.promoted, decision.reason[: len(reason)]) == (promoted, reason)


def test_a_model_that_was_rolled_back_is_refused_however_good_it_is():
    barred = Candidate(BETTER.digest, BETTER.right, barred="was rolled back on 2026-11-25: misreads sevens")
    decision = judged(barred)
    assert (decision.promoted, decision.reason, decision.barred) == (False, barred.barred, True)
    assert not judged(BETTER).barred


def test_a_small_model_that_loses_to_a_champion_for_larger_hardware_is_told_to_take_another_store():
    champion = Candidate(CHAMPION.digest, CHAMPION.right, too_large_for="edge (40 KB, 0.1 ms)")
    advice = "; the champion is too large for edge (40 KB, 0.1 ms): give each hardware a STORE of its own"
    assert judged(model("small", range(0, 40)), champion).reason.endswith(advice)
    assert judged(model("small", range(0, 17)), champion).reason.endswith(advice)
    assert "STORE" not in judged(BETTER, champion).reason
    assert "STORE" not in judged(model("small", range(0, 40))).reason


def test_a_decision_keeps_what_it_was_made_on():
    decision = judged(model("challenger", range(500, 512)))
    assert decision.challenger == "challenger"
    assert decision.champion == "champion"
    assert decision.challenger_accuracy == pytest.approx(0.988)
    assert decision.test.champion_accuracy == pytest.approx(0.98)
    assert decision.test.p_better == pytest.approx(mcnemar(model("", range(500, 512)).right, CHAMPION.right))
    assert decision.worse_slices == ("second half",)
    assert Decision.model_validate_json(decision.model_dump_json()) == decision


def test_without_a_champion_there_is_nothing_to_compare():
    decision = judged(BETTER, champion=None)
    assert (decision.champion, decision.test, decision.production) == (None, None, None)


def test_with_many_slices_bad_luck_on_one_does_not_stop_a_better_model():
    """Five lost digits are p = 0.03: on one slice a sign, on one of 20 expected."""
    slices = {f"slice {part}": np.arange(COUNT) // 50 == part for part in range(20)}
    challenger = model("challenger", range(900, 905))
    assert decide(challenger, CHAMPION, slices, settings=RULES).promoted
    alone = {"slice 18": slices["slice 18"]}
    assert decide(challenger, CHAMPION, alone, settings=RULES).worse_slices == ("slice 18",)


def on_production(digest: str, right: int, *wrong: range) -> Candidate:
    """A model that reads the first `right` of production's 200 digits, and misreads these of the test digits."""
    return Candidate(digest, model("", *wrong).right, np.arange(200) < right)


@pytest.mark.parametrize(
    ("challenger", "promoted", "reason"),
    [
        (on_production("new", 190), True, "better: 100.00% against the champion's 100.00% (p = 1.000) on"),
        (on_production("new", 140), False, "not better for certain: "),
        (on_production("new", 190, range(0, 10)), False, "worse on first half, the test digits; 99.00% against"),
        (on_production("new", 120), False, "worse on production; "),
    ],
)
def test_a_model_for_new_handwriting_must_read_it_better_and_the_old_as_well(challenger, promoted, reason):
    decision = judged(challenger, on_production("champion", 140))
    assert (decision.promoted, decision.reason[: len(reason)]) == (promoted, reason)
    assert decision.production.digits == 200
    assert decision.production.champion_accuracy == pytest.approx(0.7)


def test_a_slice_of_production_may_not_be_lost_either():
    slices = {"digit 1": np.arange(200) < 20, "others": np.arange(200) >= 20}
    champion, lost = on_production("champion", 140, range(0, 20)), np.arange(200) >= 20
    challenger = Candidate("new", CHAMPION.right, lost)
    decision = decide(challenger, champion, HALVES, settings=RULES, production_slices=slices)
    assert decision.worse_slices == ("digit 1 of production",)
    assert not decision.promoted


CANDIDATES = st.builds(
    lambda digest, wrong: model(digest, *(range(row, row + 1) for row in wrong)),
    st.sampled_from(["one", "two"]),
    st.sets(st.integers(0, COUNT - 1), max_size=60),
)


@given(CANDIDATES, CANDIDATES)
def test_no_champion_is_ever_replaced_by_one_that_is_not_better_for_certain(challenger, champion):
    decision = judged(challenger, champion)
    if decision.promoted:
        assert mcnemar(challenger.right, champion.right) < 0.05
        assert challenger.right.sum() > champion.right.sum()
        assert not decision.worse_slices


@given(CANDIDATES, CANDIDATES)
def test_of_two_models_at_most_one_replaces_the_other(one, other):
    assert not (judged(one, other).promoted and judged(other, one).promoted)


@given(CANDIDATES, st.none() | CANDIDATES)
def test_every_decision_has_a_reason_and_is_the_same_again(challenger, champion):
    decision = judged(challenger, champion)
    assert decision.reason
    assert decision == judged(challenger, champion)
