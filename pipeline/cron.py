"""When a recurring run starts: cron as people write it, checked, and as Kubeflow reads it, seconds first."""

import re
from typing import NamedTuple

from inkloop.errors import UserError

SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
PART = re.compile(r"(\*|\?|\w+(?:-\w+)?)(?:/(\d+))?")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


MINUTE, HOUR = _Field("minute", 0, 59), _Field("hour", 0, 23)
DAY = _Field("day of the month", 1, 31)
MONTH = _Field("month", 1, 12, ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"))
WEEKDAY = _Field("day of the week", 0, 6, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))
SECOND = _Field("second", 0, 59)
FIELDS = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)


def for_kubeflow(cron: str) -> str:
    """The six fields that Kubeflow asks for, of the five that cron has, of such six, or of a word like @daily.

    Kubeflow takes five fields for six without the last one: `0 3 * * *` would start a run at three minutes past every
    hour. Raises UserError if it is no cron, comes more often than once a minute, or never.
    """
    written = SHORTHANDS.get(cron.strip(), cron.strip())
    fields = written.split()
    if len(fields) not in (len(FIELDS), len(FIELDS) + 1):
        raise _wrong(cron, "give minute, hour, day of the month, month and day of the week, as in '0 3 * * *'")
    second, *rest = fields if len(fields) > len(FIELDS) else ["0", *fields]
    if len(_values(cron, second, SECOND)) > 1:
        raise _wrong(cron, "of six fields the first is the second, and a run may start once a minute at most")
    _, _, days, months, _ = (_values(cron, text, field) for text, field in zip(rest, FIELDS, strict=True))
    if rest[4] in "*?" and min(days) > max(DAYS_OF_MONTH[month - 1] for month in months):
        raise _wrong(cron, "that day never comes")
    return " ".join([second, *rest])


def _values(cron: str, text: str, field: _Field) -> set[int]:
    """The numbers that a field stands for."""
    values: set[int] = set()
    for part in text.split(","):
        matched = PART.fullmatch(part)
        if matched is None:
            raise _wrong(cron, f"the {field.name} {part!r} is not a number, a range, * or one of these with /STEP")
        span, step = matched[1], int(matched[2]) if matched[2] else 1
        if step == 0:
            raise _wrong(cron, f"the {field.name} {part!r} has a step of 0")
        if span in "*?":
            low, high = field.low, field.high
        else:
            first, _, last = span.partition("-")
            low = _number(cron, first, field)
            high = _number(cron, last, field) if last else (field.high if matched[2] else low)
        if low > high:
            raise _wrong(cron, f"the {field.name} {part!r} ends before it begins")
        values.update(range(low, high + 1, step))
    return values


def _number(cron: str, text: str, field: _Field) -> int:
    if text.upper() in field.names:
        return field.names.index(text.upper()) + field.low
    if not text.isdecimal() or not field.low <= int(text) <= field.high:
        raise _wrong(cron, f"the {field.name} {text!r} is not within {field.low} to {field.high}")
    return int(text)


def _wrong(cron: str, why: str) -> UserError:
    return UserError(f"CRON {cron!r}: {why}.")
