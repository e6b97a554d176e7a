"""The Evidently workspace: brought up to date with the store, a snapshot for each window, part and kind of report."""

import hashlib
import json
import os
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from evidently.core.report import Snapshot

from infra import captured, persons, reference, registry
from infra.registry import Champion
from infra.storage import Missing, Store
from monitoring.drift.features import Basis, basis_of
from monitoring.reports import panels, report
from monitoring.reports.observed import images_of, observe
from monitoring.reports.sketch import Grid, Sketch
from monitoring.reports.strangest import Strangest, contact_sheet
from monitoring.reports.windows import MINUTES_A_DAY, Labels, Window, batches, made_of, windows_of

LEFT_BEHIND_S = 3600
FORMAT = "1"  # of the reports: another makes all of them anew
NAMESPACE = uuid.UUID("0d9c1d2e-52d5-5b1c-9f62-7265706f7274")
# Names of sources come with requests, so anyone may send any number: later ones are counted together.
MOST_SOURCES, OTHERS = 32, "(other sources)"
REPORTED_SOURCES, REPORTED_VERSIONS = 8, 6  # the largest of each have reports and panels of their own

PARTS = ("source", "version")
Part = tuple[str, str]  # what the answers have in common, and its name: ("source", "kiosk")
ALL: Part = ("all", "all")


@dataclass(frozen=True)
class Reference:
    """What a window is compared with: the sketch of a model's reference, and the basis of its pictures."""

    digest: str
    sketch: Sketch
    basis: Basis

    @classmethod
    def of(cls, digest: str, table: pa.Table) -> "Reference":
        """Of a model's reference, of `captured.SCHEMA`."""
        basis = basis_of(images_of(table))
        observed, _ = observe(table, basis)
        return cls(digest, Sketch.of(observed, Grid.around(observed)), basis)


@dataclass
class Found:
    """All of a window that its reports need: a sketch for each pair of source and version, and the strangest inputs."""

    cells: dict[tuple[str, str], Sketch] = field(default_factory=dict)
    strangest: Strangest = field(default_factory=Strangest)

    def add(self, batch: pa.Table, against: Reference) -> None:
        """Take a batch of answers in."""
        observed, novelty = observe(batch, against.basis)
        self.strangest.look_at(batch, observed.values["confidence"], novelty)
        for (source, version), rows in _rows_by_cell(batch):
            known = {each for each, _ in self.cells}
            name = source if source in known or len(known) < MOST_SOURCES else OTHERS
            sketch = Sketch.of(observed.take(rows), against.sketch.grid)
            before = self.cells.get((name, version))
            self.cells[name, version] = sketch if before is None else before + sketch

    def names(self, what: str) -> Counter[str]:
        """The names of all sources or versions, and how many answers each has."""
        rows: Counter[str] = Counter()
        for cell, sketch in self.cells.items():
            rows[cell[PARTS.index(what)]] += sketch.rows
        return rows

    def parts(self) -> dict[Part, Sketch]:
        """The sketch of all, and where there are several sources or versions, of each of the largest."""
        kept = {
            (what, name)
            for what, most in (("source", REPORTED_SOURCES), ("version", REPORTED_VERSIONS))
            for name, _ in self.names(what).most_common(most)
            if len(self.names(what)) > 1
        }
        found: dict[Part, Sketch] = {}
        for (source, version), sketch in self.cells.items():
            for part in {ALL, ("source", source), ("version", version)} & {ALL, *kept}:
                found[part] = found[part] + sketch if part in found else sketch
        return found


@dataclass(frozen=True)
class Entry:
    """What is known of a window that was reported: what it was made of, its snapshots, how many rows of each part."""

    made_of: str
    snapshots: tuple[str, ...]
    pictures: tuple[str, ...]  # those of the snapshots that show people's handwriting
    sources: Mapping[str, int]
    versions: Mapping[str, int]


class Project:
    """One project of the workspace in a folder: the reports over windows of one length. Files are written whole."""

    def __init__(self, folder: Path, minutes: int) -> None:
        self.id = str(uuid.uuid5(NAMESPACE, str(minutes)))
        every = "day" if minutes == MINUTES_A_DAY else f"{minutes} minutes"
        self.name = f"Inkloop, every {every}"
        self.workspace = folder / "workspace"
        self.sheets = folder / "strangest" / str(minutes)
        self._scratch = folder / "unfinished"
        self._entries = folder / "windows" / str(minutes)
        # Evidently's UI reads again what appears in the folder, so a file is written elsewhere and moved there whole.
        for place in (self._snapshots, self.sheets, self._scratch, self._entries):
            place.mkdir(parents=True, exist_ok=True)
        for left in self._scratch.iterdir():  # by a monitor that was killed
            if time.time() - left.stat().st_mtime > LEFT_BEHIND_S:
                left.unlink(missing_ok=True)

    @property
    def _snapshots(self) -> Path:
        return self.workspace / self.id / "snapshots"

    def entries(self) -> dict[str, Entry]:
        """The windows that were reported, by name, oldest first."""
        return {path.stem: Entry(**json.loads(path.read_text())) for path in sorted(self._entries.glob("*.json"))}

    def write(self, window: Window, made: str, found: Found, against: Reference) -> None:
        """Put the window's reports in place of those it had."""
        snapshots = {self._id_of(window, part, kind): each for part, kind, each in _reports(window, found, against)}
        before = self.entries().get(window.name)
        for name, snapshot in snapshots.items():
            self._put(self._snapshots / f"{name}.json", report.to_json(snapshot))
        pictures = (self._id_of(window, ALL, "strangest"),)
        self._draw(window, found.strangest)
        for name in set(before.snapshots if before else ()) - set(snapshots):
            (self._snapshots / f"{name}.json").unlink(missing_ok=True)
        entry = Entry(made, tuple(snapshots), pictures, dict(found.names("source")), dict(found.names("version")))
        self._put(self._entries / f"{window.name}.json", json.dumps(asdict(entry)).encode())

    def forget_pictures(self, window: str) -> None:
        """Remove what shows handwriting that the store no longer holds; the window's numbers stay."""
        for name in self.entries()[window].pictures:
            (self._snapshots / f"{name}.json").unlink(missing_ok=True)
        (self.sheets / f"{window}.png").unlink(missing_ok=True)

    def write_dashboard(self) -> None:
        """Describe the project, with panels for the sources and versions that there are."""
        sources: Counter[str] = Counter()
        versions: dict[str, None] = {}
        for entry in self.entries().values():
            sources.update(entry.sources)
            versions |= dict.fromkeys(entry.versions)
        shown = panels.dashboard(
            [name for name, _ in sources.most_common(REPORTED_SOURCES)], list(versions)[-REPORTED_VERSIONS:]
        )
        self._put(self.workspace / self.id / "dashboard.json", shown.json().encode())
        described = {"id": self.id, "name": self.name, "description": "What production saw.", "version": "2"}
        self._put(self.workspace / self.id / "metadata.json", json.dumps(described).encode())

    def _draw(self, window: Window, strangest: Strangest) -> None:
        png = BytesIO()
        contact_sheet(strangest).save(png, "PNG")
        self._put(self.sheets / f"{window.name}.png", png.getvalue())

    def _put(self, path: Path, content: bytes) -> None:
        handle, unfinished = tempfile.mkstemp(dir=self._scratch)  # two monitors may write the same at once
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(unfinished).replace(path)

    def _id_of(self, window: Window, part: Part, kind: str) -> str:
        return str(uuid.uuid5(NAMESPACE, "/".join((self.id, window.start.isoformat(), *part, kind))))


def update(store: Store, folder: Path, minutes: int = MINUTES_A_DAY) -> list[Window]:
    """Bring the reports in the folder up to date with the store; returns the windows whose reports are new.

    A window is reported again if objects, labels or the champion's reference have come or gone since.
    Raises UserError if there is no champion, Missing if it has no reference.
    """
    registry.reigning(store)
    champions = registry.history(store)
    keys = captured.keys(store, captured.ANSWERS)
    windows = windows_of(keys, minutes)
    labels = Labels(captured.latest_labels(store, windows[0].start) if windows else captured.LABEL_SCHEMA.empty_table())
    forgotten = persons.forgotten(store).rows_removed
    project = Project(folder, minutes)

    @cache
    def reference_of(digest: str) -> Reference:
        return Reference.of(digest, reference.read(store, digest))

    entries, reported = project.entries(), []
    gone = set(entries) - {window.name for window in windows}
    for window in windows:
        against = _reference_for(window, champions, reference_of)
        said = (FORMAT, against.digest, str(forgotten), made_of(window, keys, labels))
        made = hashlib.sha256("\n".join(said).encode()).hexdigest()
        if window.name in entries and entries[window.name].made_of == made:
            continue
        found = Found()
        for batch in batches(store, window, keys, labels):
            found.add(batch, against)
        if found.cells:
            project.write(window, made, found, against)
            reported.append(window)
        elif window.name in entries:
            gone.add(window.name)
    for name in gone:
        project.forget_pictures(name)
    project.write_dashboard()
    return reported


def _reference_for(window: Window, champions: list[Champion], reference_of: Callable[[str], Reference]) -> Reference:
    """That of the champion at the window's end; if it has none, or there was no champion yet, of the one now."""
    then = [champion for champion in champions if champion.since < window.end]
    if then and then[-1].digest != champions[-1].digest:
        try:
            return reference_of(then[-1].digest)
        except Missing:
            pass
    return reference_of(champions[-1].digest)


def _reports(window: Window, found: Found, against: Reference) -> Iterator[tuple[Part, str, Snapshot]]:
    for part, sketch in found.parts().items():
        what, name = part
        title = window.name if part == ALL else f"{window.name}, {what} {name}"
        described = {"reference": registry.version_of(against.digest)} | _described(part, found)
        common = (sketch, against.sketch, window.start, title)
        yield part, "data", report.data_report(*common, {**described, "kind": "data"})
        if sketch.labeled >= report.ENOUGH_LABELS:
            yield part, "quality", report.quality_report(*common, {**described, "kind": "quality"})
    sheet, least = contact_sheet(found.strangest), found.strangest.unsure[0].confidence
    described = {"part": "all", "kind": "strangest"}
    yield ALL, "strangest", report.strangest_report(sheet, least, window.start, window.name, described)


def _described(part: Part, found: Found) -> dict[str, str]:
    """What panels choose by; the one source or version that all came from has no other reports than those of all."""
    what, name = part
    if part != ALL:
        return {"part": what, what: name}
    only = {each: next(iter(found.names(each))) for each in PARTS if len(found.names(each)) == 1}
    return {"part": "all", **only}


def _rows_by_cell(batch: pa.Table) -> Iterator[tuple[tuple[str, str], np.ndarray[tuple[int], np.dtype[np.bool_]]]]:
    encoded = [batch.column(name).combine_chunks().dictionary_encode() for name in ("source", "model_version")]
    sources, versions = (each.dictionary.to_pylist() for each in encoded)
    cells = encoded[0].indices.to_numpy() * len(versions) + encoded[1].indices.to_numpy()
    for cell in np.unique(cells):
        yield (sources[cell // len(versions)], versions[cell % len(versions)]), cells == cell
