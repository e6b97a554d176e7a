"""The pages of settings name each setting, and no other, with what holds where nothing is said."""

import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic.fields import FieldInfo

from inkloop.settings import Settings
from pipeline.profile import Profile
from pipeline.watch import LoopSettings

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"ModelSettings": "recognizer.md", "Reading": "recognizer.md"}


def within(annotation: object) -> Iterator[type[Settings]]:
    """The settings that a field holds."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for part in typing.get_args(annotation):
        yield from within(part)


def kinds(start: type[Settings]) -> set[type[Settings]]:
    """The settings, and all that they are made of."""
    below = {kind for field in start.model_fields.values() for kind in within(field.annotation)}
    return {start}.union(*(kinds(kind) for kind in below))


def rows(kind: type[Settings]) -> dict[str, str]:
    """What the page's table of these settings says of each: its default, by its name."""
    _, found, after = (DOCS / PAGES.get(kind.__name__, "settings.md")).read_text().partition(f"`{kind.__name__}`")
    assert found, f"no page speaks of {kind.__name__}"
    table = after.partition("\n| --- ")[2].partition("\n\n")[0]
    cells = [line.split(" | ", 2) for line in table.splitlines()[1:]]
    return {name.strip("| `"): default.strip() for name, default, *_ in cells}


def said(field: FieldInfo) -> object:
    """The default as YAML has it; of settings within settings, what differs from their own defaults."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Settings):
        return value.model_dump(mode="json", exclude_unset=True)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "kind", sorted(kinds(Profile) | kinds(LoopSettings), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__
)
def test_each_setting_stands_in_the_docs_with_its_default(kind: type[Settings]):
    told = rows(kind)
    assert set(told) == set(kind.model_fields)
    if kind.__name__ not in PAGES:
        for name, default in told.items():
            if default.startswith("`"):
                assert yaml.safe_load(default.strip("`")) == said(kind.model_fields[name]), name
