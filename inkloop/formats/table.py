"""The comparison for people: one table, and below it what each format cannot do."""

from collections.abc import Sequence

from inkloop import card
from inkloop.formats.comparison import Row
from inkloop.formats.equality import Timed
from inkloop.runtime import BATCH_SIZE

HEAD = (
    "format",
    "size",
    "as torch",
    "most it differs",
    "same answers",
    "accuracy",
    "p50 of one, us",
    f"pictures a second, by {BATCH_SIZE}",
    "with",
)
BRIEF = ("format", "size", "as torch", "differs", "same", "right", "us", "a second")  # what 80 columns hold
VERDICTS = {True: "yes", False: "NO", None: "-"}


def cells(row: Row) -> list[str]:
    """A row's cells, as `HEAD` names them; in brackets the least and most of the rounds."""
    size = "-" if row.size_bytes is None else f"{row.size_bytes / 1000:,.1f} KB"
    versions = ", ".join(f"{package} {version}" for package, version in row.versions.items()) or "-"
    if (figures := row.figures) is None:
        return [row.format, size, *["-"] * 6, versions]
    return [
        row.format,
        size,
        VERDICTS[row.is_equal],
        f"{figures.difference:.1g}",
        f"{figures.same_answers:.2%}",
        f"{figures.accuracy:.2%}",
        _with_spread(figures.p50_us),
        _with_spread(figures.images_per_s),
        versions,
    ]


def brief(row: Row) -> list[str]:
    """A row's cells, as `BRIEF` names them: medians alone, and no versions."""
    *known, p50_us, images_per_s, _ = cells(row)
    if row.figures is None:
        return [*known, p50_us, images_per_s]
    return [*known, f"{row.figures.p50_us.median:,.0f}", f"{row.figures.images_per_s.median:,.0f}"]


def remarks(rows: Sequence[Row]) -> list[str]:
    """A line for each row that has a remark."""
    return [f"{row.format}: {row.remark}" for row in rows if row.remark]


def page(title: str, rows: Sequence[Row]) -> str:
    """The table and the remarks in Markdown."""
    below = "\n".join(f"* {remark}" for remark in remarks(rows))
    return f"# {title}\n\n{card.table(HEAD, map(cells, rows))}\n\n{below}\n"


def _with_spread(timed: Timed) -> str:
    return f"{timed.median:,.0f} ({timed.least:,.0f}-{timed.most:,.0f})"
