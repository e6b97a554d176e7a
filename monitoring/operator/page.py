"""The page as HTML: the template, and how it words times, shares and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitoring.operator.overview import Overview
from monitoring.operator.timeline import timeline

SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7), "all": None}
WIDE, NARROW = 1_040, 360  # pixels of the drawing; the style sheet shows one of them
SHOWN_VERSIONS = 30

DONE = {
    "retrain": "A retraining is asked for. The watch takes it up when it looks next.",
    "promote": "The model is champion. Servers follow within 5 seconds.",
    "rollback": "The champion before is back. Servers follow within 5 seconds.",
}
VERDICTS = {
    "start": "A retraining was started",
    "wait": "A retraining is due, and waits",
    "refuse": "A retraining is due, and refused",
    "ask for labels": "More labels are needed",
    "quiet": "Not needed now",
}


@dataclass(frozen=True)
class Said:
    """What the page says of a form that was sent."""

    done: str = ""  # what was done: a key of `DONE`
    alert: str = ""  # or why it was not
    form: str = ""  # which form that was, and its fields, to be filled in again
    fields: Mapping[str, str] = field(default_factory=dict)


def render(overview: Overview, span: str = "all", said: Said | None = None) -> str:
    """The page. span: of time that is drawn, a key of `SPANS`."""
    span, said = span if span in SPANS else "all", said or Said()
    start, state = _start(overview, span), overview.state
    drawings = {
        name: timeline(state.points, overview.champions, overview.drifts, overview.promised, start, overview.now, width)
        for name, width in (("wide", WIDE), ("narrow", NARROW))
    }
    return _TEMPLATE.render(
        seen=overview,
        drawings=drawings,
        span=span,
        spans=SPANS,
        shown_versions=SHOWN_VERSIONS,
        done=DONE.get(said.done, ""),
        alert=said.alert,
        tried=said.form,
        typed=said.fields,
        verdicts=VERDICTS,
        ago=lambda when: ago(when, overview.now),
    )


def ago(when: datetime, now: datetime) -> str:
    """How long ago, such as "5 min ago"; a time ahead, as another machine's clock may write, is now."""
    past = (now - when).total_seconds()
    return "just now" if past < 1 else f"{duration(past)} ago"


def duration(seconds: float) -> str:
    """Such as "0.4 s", "12 s", "4 min", "3 h" or "12 days"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, length, until in (("s", 1, 100), ("min", 60, 100 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def _start(overview: Overview, span: str) -> datetime:
    length = SPANS[span]
    if length is not None:
        return overview.now - length
    first = [point.at for point in overview.state.points[:1]] or [each.since for each in overview.champions[-1:]]
    return min([overview.now, *first])


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"time": _time, "percent": _percent, "duration": duration}
_TEMPLATE = _ENVIRONMENT.get_template("page.html")
