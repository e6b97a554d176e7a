"""Links of the way from an answer to its training data, and those of the data: each held against the bytes at hand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from infra import datasets, dvc
from infra.storage import Missing, Store
from inkloop import mnist, sources
from inkloop.errors import UserError

# ok: the bytes are here and are those; changed: they are others; missing: they are not here; recorded: it has no bytes
State = Literal["ok", "changed", "missing", "recorded"]
SHOWN_FILES = 20  # of a source whose files are all as they were


@dataclass(frozen=True)
class Link:
    """One link of the chain: what it is, its name, how it stands to its bytes, what is known of it, what it is from."""

    what: str
    name: str
    state: State = "recorded"
    facts: dict[str, Any] = field(default_factory=dict)
    below: tuple["Link", ...] = ()

    def walk(self) -> Iterator["Link"]:
        """This link and all below."""
        yield self
        for each in self.below:
            yield from each.walk()


def pinned(version: str, data: Path) -> Link:
    """A version of `data.dvc`: in the data folder, or else in DVC's cache."""
    facts: dict[str, Any] = {"pinned now": dvc.pinned(data)}
    if data.is_dir() and dvc.hash_of(data) == version:
        return Link("data.dvc", version, "ok", facts)
    wrong = dvc.damaged(data, version)
    if wrong:
        return Link("data.dvc", version, "changed", {**facts, "damaged in DVC's cache": ", ".join(wrong)})
    if wrong is not None:
        return Link("data.dvc", version, "ok", {**facts, "where": "DVC's cache"})
    return Link("data.dvc", version, "missing", facts)


def files_of_source(source: str, digest: str, then: dict[str, str], data: Path) -> Link:
    """The files that a source was made of then, held against those there are now."""
    try:
        now = sources.files(source, data)
    except UserError:
        now = {}
    links = []
    for name, content in then.items():
        state: State = "missing" if name not in now else "ok" if now[name] == content else "changed"
        links.append(Link("file", name, state, {"sha256": content}))
    states = {each.state for each in links}
    whole: State = "changed" if "changed" in states else "missing" if "missing" in states or not links else "ok"
    if source != mnist.NAME and sources.digest_of(then) != digest:
        whole = "changed"
    shown = links if len(links) <= SHOWN_FILES else [each for each in links if each.state != "ok"]
    return Link("source", source, whole, {"digest": digest, "files": len(links)}, tuple(shown))


def mnist_here(data: Path) -> Link:
    """MNIST's files, for a model of which no run was kept: they are pinned in code."""
    there = {name: (data / mnist.NAME / name) for name in mnist.MD5}
    here = {name: path.read_bytes() for name, path in there.items() if path.is_file()}
    state: State = "missing" if len(here) < len(there) else "changed" if mnist.wrong(here) else "ok"
    return Link("source", mnist.NAME, state, {"digest": mnist.pin(), **sources.files(mnist.NAME, data)})


def production(store: Store, version: str) -> Link:
    """A version of production's digits."""
    try:
        table = datasets.read(store, version)
    except Missing:
        return Link("production", version, "missing")
    except UserError as error:
        return Link("production", version, "changed", {"why": str(error)})
    seen = pc.min_max(table.column("seen_at")).as_py()
    from_sources = ", ".join(sorted(set(table.column("source").to_pylist())))
    facts = {"digits": table.num_rows, "seen from": seen["min"], "to": seen["max"], "sources": from_sources}
    return Link("production", version, "ok", facts)
