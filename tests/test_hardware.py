"""Hardware: the best model that fits is chosen, and one that no other beats is never left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkloop.errors import UserError
from inkloop.hardware import BUDGETS, HardwareSettings, Offer, budget_of, choose, front

OFFERS = {
    "teacher": Offer(0.996, 900.0, 0.40),
    "student": Offer(0.995, 150.0, 0.09),
    "int8": Offer(0.994, 38.0, 0.09),
    "tiny": Offer(0.990, 15.0, 0.05),
}
ANY = st.dictionaries(
    st.sampled_from("abcdefgh"),
    st.builds(Offer, st.sampled_from([0.9, 0.95, 0.99]), st.sampled_from([10.0, 40.0]), st.sampled_from([0.05, 0.2])),
    min_size=1,
)


@pytest.mark.parametrize(("name", "chosen"), [("edge", "int8"), ("cpu", "student"), ("gpu", "teacher")])
def test_each_hardware_gets_the_best_that_fits(name, chosen):
    assert choose(OFFERS, HardwareSettings(name=name)) == chosen


def test_a_limit_may_be_set_otherwise():
    assert choose(OFFERS, HardwareSettings(name="edge", latency_limit_ms=0.06)) == "tiny"
    assert str(budget_of(HardwareSettings(name="cpu", size_limit_kb=20))) == "20 KB, 0.5 ms"


def test_the_limit_itself_fits():
    assert choose({"exact": Offer(0.9, 40.0, 0.1)}, HardwareSettings(name="edge")) == "exact"


def test_of_two_as_good_the_smaller_is_chosen():
    assert choose({"large": Offer(0.99, 50.0, 0.1), "small": Offer(0.99, 20.0, 0.3)}, HardwareSettings()) == "small"


def test_where_nothing_fits_the_nearest_is_named():
    offers = {"slow": Offer(0.99, 20.0, 1.0), "large": Offer(0.99, 50.0, 0.05)}
    with pytest.raises(
        UserError, match=r"hardware edge \(40 KB, 0\.1 ms\): no model fits; the nearest is large with 50"
    ):
        choose(offers, HardwareSettings(name="edge"))


def test_the_front_is_of_those_that_no_other_beats():
    assert front(OFFERS) == ["tiny", "int8", "student", "teacher"]
    assert "worse" not in front({**OFFERS, "worse": Offer(0.993, 40.0, 0.09)})


@given(offers=ANY)
def test_whatever_is_chosen_for_any_hardware_is_as_good_as_something_on_the_front(offers):
    unbeaten = front(offers)
    assert unbeaten
    for name, budget in BUDGETS.items():
        best = [offer.accuracy for offer in (offers[each] for each in unbeaten) if offer.fits(budget)]
        if best:
            assert offers[choose(offers, HardwareSettings(name=name))].accuracy == max(best)
