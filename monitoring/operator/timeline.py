"""The timeline as SVG, drawn here and not in the browser: drift, accuracy, volume and versions on one time axis."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from html import escape

from markupsafe import Markup

from infra.registry import Champion
from monitoring.state import Drift, Point

PIXELS_A_BIN, PIXELS_A_BAR = 4, 12
LEFT, RIGHT, TITLE, GAP = 44.0, 10.0, 18.0, 10.0
SCORE, ACCURACY, VOLUME, VERSIONS, TIMES = 90.0, 90.0, 60.0, 22.0, 20.0  # heights
STEPS = [timedelta(minutes=minutes) for minutes in (1, 2, 5, 10, 15, 30)]
STEPS += [timedelta(hours=hours) for hours in (1, 2, 3, 6, 12, 24, 48)]
PIXELS_A_TICK = 90
PIXELS_A_LETTER = 7.5
FEWEST_LETTERS = 4

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Axis:
    """Time from left to right, in pixels."""

    start: datetime
    end: datetime
    width: int

    def __call__(self, when: datetime) -> float:
        """Where this moment is."""
        return LEFT + (self.right - LEFT) * ((when - self.start) / (self.end - self.start))

    @property
    def right(self) -> float:
        """Where the drawing ends."""
        return self.width - RIGHT

    def parts(self, pixels: int) -> int:
        """So many slices of that width there are."""
        return max(1, int((self.right - LEFT) / pixels))


@dataclass(frozen=True)
class Bin:
    """What was seen in one slice of time: the highest score, the latest accuracy, all answers."""

    middle: datetime
    score: float
    accuracy: float | None
    answers: int


def timeline(
    points: Sequence[Point],
    champions: Sequence[Champion],
    drifts: Sequence[Drift],
    promised: float | None,
    start: datetime,
    end: datetime,
    width: int,
) -> Markup:
    """Draw what was seen between two times, at this width in pixels. promised: the champion's accuracy, 0..1.

    champions: oldest first. What the drawing says is escaped.
    """
    x = Axis(start, max(end, start + timedelta(minutes=1)), width)
    bins = binned(points, x.start, x.end, x.parts(PIXELS_A_BIN))
    bars = binned(points, x.start, x.end, x.parts(PIXELS_A_BAR))
    alarms = [drift for drift in drifts if x.start <= drift.at <= x.end]
    panels: list[tuple[str, float, Callable[[float, float], list[str]]]] = [
        ("Drift score (1 is an alarm)", SCORE, partial(_score, x, bins, alarms)),
        ("Accuracy on the newest labels", ACCURACY, partial(_accuracy, x, bins, promised)),
        ("Answers", VOLUME, partial(_volume, x, bars)),
        ("Champion", VERSIONS, partial(_versions, x, champions)),
    ]
    drawn: list[str] = []
    top = 0.0
    for title, height, draw in panels:
        drawn += [_text(LEFT, top + TITLE - 6, title, "title"), *draw(top + TITLE + height, top + TITLE)]
        top += TITLE + height + GAP
    swaps = [champion.since for champion in champions if x.start < champion.since <= x.end]
    drawn += [_line(x(when), TITLE, x(when), top - GAP, "swap") for when in swaps]
    drawn += _times(x, top)
    said = f"Drift score, accuracy, answers and champions from {x.start:%Y-%m-%d %H:%M} to {x.end:%Y-%m-%d %H:%M} UTC"
    size = f'viewBox="0 0 {width} {top + TIMES:g}" width="{width}" height="{top + TIMES:g}"'
    return Markup(f'<svg role="img" aria-label="{escape(said)}" {size}>{"".join(drawn)}</svg>')


def binned(points: Iterable[Point], start: datetime, end: datetime, count: int) -> list[Bin]:
    """The points in so many slices of time at most, oldest first; slices in which nothing was seen are left out."""
    gathered: dict[int, list[Point]] = {}
    for point in sorted(points, key=lambda each: each.at):
        if start <= point.at <= end:
            gathered.setdefault(min(count - 1, int((point.at - start) / (end - start) * count)), []).append(point)
    return [
        Bin(
            middle=start + (end - start) * ((number + 0.5) / count),
            score=max(point.score for point in within),
            accuracy=next((point.accuracy for point in reversed(within) if point.accuracy is not None), None),
            answers=sum(point.answers for point in within),
        )
        for number, within in gathered.items()
    ]


def _score(x: Axis, bins: Sequence[Bin], alarms: Sequence[Drift], low: float, high: float) -> list[str]:
    y = _scale(0, max([1.25, *(each.score * 1.05 for each in bins)]), low, high)
    return [
        *_grid(x, y, [0, 1], "{:g}"),
        _line(LEFT, y(1), x.right, y(1), "limit"),
        _path([(x(each.middle), y(each.score)) for each in bins], "score"),
        *(_mark(x(drift.at), y(1), f"{drift.at:%Y-%m-%d %H:%M}: {drift}") for drift in alarms),
    ]


def _accuracy(x: Axis, bins: Sequence[Bin], promised: float | None, low: float, high: float) -> list[str]:
    known = [(each.middle, each.accuracy) for each in bins if each.accuracy is not None]
    least = min([0.95, *(accuracy for _, accuracy in known), *([] if promised is None else [promised])])
    floor = max(0.0, int((least - 0.01) * 20) / 20)
    y = _scale(floor, 1, low, high)
    drawn = _grid(x, y, [floor, 1], "{:.0%}")
    if promised is not None:
        drawn.append(_line(LEFT, y(promised), x.right, y(promised), "promised", f"promised: {promised:.2%}"))
    return [*drawn, _path([(x(when), y(accuracy)) for when, accuracy in known], "accuracy")]


def _volume(x: Axis, bars: Sequence[Bin], low: float, high: float) -> list[str]:
    most = max([1, *(each.answers for each in bars)])
    y = _scale(0, most, low, high)
    drawn = [
        _box(
            (x(each.middle) - PIXELS_A_BAR / 2, x(each.middle) + PIXELS_A_BAR / 2 - 1),
            (low, y(each.answers)),
            "volume",
            f"{each.middle:%Y-%m-%d %H:%M}: {each.answers:,}",
        )
        for each in bars
        if each.answers
    ]
    return [*_grid(x, y, [0, most], "{:,}"), *drawn]


def _versions(x: Axis, champions: Sequence[Champion], low: float, high: float) -> list[str]:
    drawn = []
    until = [*(champion.since for champion in champions[1:]), x.end]
    for champion, last in zip(champions, until, strict=False):
        left, right = x(max(x.start, champion.since)), x(min(x.end, last))
        if right <= left:
            continue
        said = f"{champion.version}, champion number {champion.number}, since {champion.since:%Y-%m-%d %H:%M}"
        kind = "odd" if champion.number % 2 else "even"
        drawn.append(_box((left, right), (low, high), kind, said))
        letters = int((right - left - 8) / PIXELS_A_LETTER)
        if letters >= FEWEST_LETTERS:
            drawn.append(_text(left + 5, low - 7, champion.version[:letters], "name"))
    return drawn


def _times(x: Axis, top: float) -> list[str]:
    form = "%H:%M" if x.end - x.start <= timedelta(hours=36) else "%d %b"
    return [
        part
        for when in ticks(x.start, x.end, max(2, int((x.right - LEFT) / PIXELS_A_TICK)))
        for part in (
            _line(x(when), TITLE, x(when), top - GAP, "grid"),
            _text(x(when), top + 6, f"{when:{form}}", "tick"),
        )
    ]


def ticks(start: datetime, end: datetime, most: int) -> list[datetime]:
    """Round times (UTC) between two times, so many at most."""
    steps = (*STEPS, *(timedelta(days=2**power) for power in range(2, 20)))
    step = next(step for step in steps if (end - start) / step <= most)
    midnight = datetime(start.year, start.month, start.day, tzinfo=UTC)
    first = midnight + step * -((midnight - start) // step)
    return [first + step * number for number in range(most + 1) if start <= first + step * number <= end][:most]


def _grid(x: Axis, y: Scale, values: Sequence[float], form: str) -> list[str]:
    return [
        part
        for value in values
        for part in (
            _line(LEFT, y(value), x.right, y(value), "grid"),
            _text(LEFT - 6, y(value) + 4, form.format(value), "value"),
        )
    ]


def _scale(least: float, most: float, low: float, high: float) -> Scale:
    """From values to pixels: `least` at the height `low`, `most` at `high`."""
    return lambda value: low + (high - low) * (value - least) / (most - least)


def _path(places: Sequence[tuple[float, float]], kind: str) -> str:
    if len(places) == 1:
        return f'<circle class="{kind}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5"/>'
    return f'<polyline class="{kind}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'


def _mark(x: float, y: float, said: str) -> str:
    return f'<circle class="alarm" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(said)}</title></circle>'


def _box(across: tuple[float, float], down: tuple[float, float], kind: str, said: str) -> str:
    """A bar from left to right and from its low to its high end."""
    (left, right), (low, high) = across, down
    place = f'x="{left:.1f}" y="{high:.1f}" width="{right - left:.1f}" height="{low - high:.1f}"'
    return f'<rect class="{kind}" {place}><title>{escape(said)}</title></rect>'


def _line(x: float, y: float, x2: float, y2: float, kind: str, said: str = "") -> str:
    title = f"<title>{escape(said)}</title>" if said else ""
    return f'<line class="{kind}" x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}">{title}</line>'


def _text(x: float, y: float, said: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(said)}</text>'
