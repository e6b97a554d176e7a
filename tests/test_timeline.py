"""The timeline: nothing that was seen is lost on the way into the drawing, and the drawing is always one."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from infra.registry import Champion
from monitoring.operator.timeline import binned, ticks, timeline
from monitoring.state import Drift, Point

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

moments = st.integers(0, 10_000).map(lambda seconds: NOON + timedelta(seconds=seconds))
shares = st.floats(0, 1)


def point(at: datetime, answers: int = 100, score: float = 0.2, accuracy: float | None = 0.98) -> Point:
    return Point(
        at=at, version="974982cc763f", answers=answers, score=score, loudest="slant", accuracy=accuracy, labels=500
    )


def champion(number: int, since: datetime) -> Champion:
    version = f"{number:012x}"
    return Champion(number=number, digest=version * 5, version=version, since=since, decision={}, previous=None)


points = st.lists(st.builds(point, moments, st.integers(0, 10_000), st.floats(0, 3), st.none() | shares), max_size=40)


@given(seen=points, count=st.integers(1, 50))
def test_no_answer_and_no_peak_is_lost_in_the_drawing(seen, count):
    bins = binned(seen, NOON, NOON + 3 * HOUR, count)
    assert len(bins) <= count
    assert sum(each.answers for each in bins) == sum(each.answers for each in seen)
    assert max((each.score for each in bins), default=0) == max((each.score for each in seen), default=0)
    assert [each.middle for each in bins] == sorted(each.middle for each in bins)


def test_what_lies_outside_is_not_drawn():
    assert binned([point(NOON - HOUR), point(NOON + 3 * HOUR)], NOON, NOON + HOUR, 10) == []


@given(
    seen=points,
    since=st.lists(moments, max_size=5).map(sorted),
    promised=st.none() | shares,
    start=moments,
    end=moments,
    width=st.sampled_from([360, 1040]),
)
def test_whatever_was_seen_the_drawing_is_one_and_stays_in_its_frame(seen, since, promised, start, end, width):
    champions = [champion(number + 1, when) for number, when in enumerate(since)]
    alarm = Drift(at=NOON + HOUR, version="974982cc763f", feature="slant", direction="higher", images=12)
    drawn = ElementTree.fromstring(timeline(seen, champions, [alarm], promised, start, end, width))
    height = float(drawn.attrib["height"])
    for shape in drawn:
        for name, most in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("cy", height)):
            assert -0.1 <= float(shape.attrib.get(name, 0)) <= most + 0.1
        assert float(shape.attrib.get("width", 0)) >= 0
        assert float(shape.attrib.get("height", 0)) >= 0


def test_each_champion_has_its_stretch_and_one_follows_the_other():
    champions = [champion(1, NOON - HOUR), champion(2, NOON + HOUR), champion(3, NOON + 2 * HOUR)]
    drawn = ElementTree.fromstring(timeline([], champions, [], None, NOON, NOON + 4 * HOUR, 1040))
    stretches = [shape for shape in drawn if shape.attrib.get("class") in ("odd", "even")]
    assert [shape.findtext("title", "")[:12] for shape in stretches] == [each.version for each in champions]
    edges = [(float(each.attrib["x"]), float(each.attrib["x"]) + float(each.attrib["width"])) for each in stretches]
    assert [round(right) for _, right in edges[:-1]] == [round(left) for left, _ in edges[1:]]
    assert edges[1][1] - edges[1][0] < edges[0][1] - edges[0][0] + 0.2 < edges[2][1] - edges[2][0]
    assert len([shape for shape in drawn if shape.attrib.get("class") == "swap"]) == 2


def test_names_are_never_markup():
    named = champion(1, NOON).model_copy(update={"version": "<script>x</script>"})
    alarm = Drift(at=NOON + HOUR, version="v", feature="<b>slant", direction='" onload="x', images=1)
    drawn = timeline([], [named], [alarm], None, NOON, NOON + 2 * HOUR, 1040)
    assert "<script" not in drawn
    assert "<b>" not in drawn
    assert 'onload="' not in drawn


@given(seconds=st.integers(60, 10**9), most=st.integers(2, 12))
def test_the_axis_has_few_round_times(seconds, most):
    end = NOON + timedelta(seconds=seconds)
    found = ticks(NOON, end, most)
    assert len(found) <= most
    assert all(NOON <= when <= end and when.second == 0 for when in found)
