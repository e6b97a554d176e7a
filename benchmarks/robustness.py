"""`make bench-robustness`: what the champion reads of harder digits, by slices, with the worst cases to look at."""

import argparse
import base64
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from benchmarks import hard_digits, real_digits, record
from infra import registry
from infra.storage import open_store
from inkloop import preview
from inkloop.attention import attention_map
from inkloop.digits import Digits
from inkloop.files import written_whole
from inkloop.model import ModelSettings
from inkloop.runtime import Recognizer, probabilities_of
from inkloop.slices import slices_of

ENOUGH = 20  # digits of a slice that its accuracy is told of
ZOOM, COLUMNS, CAPTION = 3, 6, 24  # of the sheet: pixels a pixel, digits a row, pixels of text below each
SHOWN_SLICES = ("thin pen", "medium pen", "thick pen", "leaning left", "upright", "leaning right")


@dataclass(frozen=True)
class Misread:
    """A digit that was read wrong: its picture, where the model looked (28, 28), most = 1, and what was said."""

    image: NDArray[np.uint8]
    looked_at: NDArray[np.float32]
    caption: str


def row_of(name: str, found: Digits, probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Accuracy in 0..1 of all of a set, and of its slices that have some digits."""
    right = probabilities.argmax(1) == found.labels
    by_slice = {each: float(right[mask].mean()) for each, mask in slices_of(found).items() if mask.sum() >= ENOUGH}
    return {"set": name, "digits": len(found), "accuracy": float(right.mean()), "slices": by_slice}


def surest_wrong(name: str, found: Digits, probabilities: NDArray[np.float32], model: Recognizer) -> list[Misread]:
    """A few misread digits of a set, the surest answers first."""
    answers = probabilities.argmax(1)
    was_framed = found.images.any((1, 2))  # what the service would refuse is misread, but nothing to look at
    wrong = np.flatnonzero((answers != found.labels) & was_framed)
    wrong = wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:COLUMNS]
    if not len(wrong):
        return []
    _, attention = model.explained(found.images[wrong])
    settings = ModelSettings.model_validate(model.info.architecture)
    readings = {reading.name: reading for reading in settings.readings}
    misread = []
    for place, row in enumerate(wrong):
        looked = ((weights[place], readings[each]) for each, weights in attention.items())
        maps = [attention_map(weights, reading, settings.frame) for weights, reading in looked]
        looked_at = np.mean(maps, axis=0) if maps else np.zeros((28, 28), np.float32)
        said = f"{found.labels[row]} as {answers[row]}, {probabilities[row].max():.0%}"
        misread.append(Misread(found.images[row], looked_at, f"{said}\n{name.removeprefix(hard_digits.CORRUPTED)}"))
    return misread


def contact_sheet(misread: list[Misread]) -> Image.Image:
    """Each misread digit as it is and, beside it, with where the model looked in red."""
    wide, high = 2 * 28 * ZOOM + 6, 28 * ZOOM + CAPTION
    sheet = Image.new("RGB", (COLUMNS * wide, -(-len(misread) // COLUMNS) * high), "white")
    draw = ImageDraw.Draw(sheet)
    for place, each in enumerate(misread):
        left, top = place % COLUMNS * wide, place // COLUMNS * high
        plain = np.stack([each.image] * 3, 2)
        heat = np.stack([np.maximum(each.image, (255 * each.looked_at).astype(np.uint8)), each.image, each.image], 2)
        for picture, beside in ((plain, 0), (heat, 28 * ZOOM + 1)):
            large = Image.fromarray(picture).resize((28 * ZOOM, 28 * ZOOM), Image.Resampling.NEAREST)
            sheet.paste(large, (left + beside, top))
        draw.text((left, top + 28 * ZOOM), each.caption, fill="black", font_size=10, spacing=0)
    return sheet


def page(rows: list[dict[str, Any]], misread: list[Misread], version: str) -> str:
    """One HTML page, pictures inside: every set's accuracy, its slices and classes, and the contact sheet."""
    head = ["set", "digits", "accuracy", *SHOWN_SLICES, *(f"{label}" for label in range(10))]
    cells = [
        [
            row["set"],
            f"{row['digits']:,}",
            f"{row['accuracy']:.2%}",
            *(_share(row["slices"].get(name)) for name in (*SHOWN_SLICES, *(f"digit {label}" for label in range(10)))),
        ]
        for row in rows
    ]
    png = io.BytesIO()
    contact_sheet(misread).save(png, "PNG")
    picture = f'<img src="data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}">'
    body = f"{preview.table(head, cells)}<h2>Surest wrong answers, and where the model looked</h2>{picture}"
    return preview.PAGE.format(title=f"Robustness of {version}", body=body)


def _share(accuracy: float | None) -> str:
    return "" if accuracy is None else f"{accuracy:.1%}"


def shown(rows: list[dict[str, Any]]) -> Table:
    """The sets with their accuracy, and MNIST-C's mean."""
    table = Table("set", "digits", "accuracy", "worst slice")
    for row in rows:
        worst, share = min(row["slices"].items(), key=lambda each: each[1], default=("-", row["accuracy"]))
        table.add_row(row["set"], f"{row['digits']:,}", f"{row['accuracy']:.2%}", f"{worst}, {share:.1%}")
    corrupted = [row["accuracy"] for row in rows if row["set"].startswith(hard_digits.CORRUPTED)]
    table.add_row("MNIST-C, mean", "", f"{np.mean(corrupted):.2%}", "")
    return table


def main() -> None:
    """Read every set, print the table, write the page, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=str(record.ROOT / "store"))
    parser.add_argument("--source", default="", help="a folder of digits or an IDX file, read beside the others")
    parser.add_argument("--photographed", type=int, default=300, help="test digits made into photographs of each kind")
    options = parser.parse_args()
    store, console = open_store(options.store), Console()
    with tempfile.TemporaryDirectory() as scratch:
        registry.fetch(store, registry.reigning(store).digest, Path(scratch) / "model")
        model = Recognizer(Path(scratch) / "model")
    test = real_digits.split("test")
    rows, misread = [], []
    for name, found in hard_digits.sets(test, options.photographed, options.source):
        probabilities = probabilities_of(model.probabilities, found.images)
        rows.append(row_of(name, found, probabilities))
        misread += surest_wrong(name, found, probabilities, model)
        console.print(f"{name}: {rows[-1]['accuracy']:.2%}")
    target = record.ROOT / "artifacts" / "robustness.html"
    target.parent.mkdir(exist_ok=True)
    with written_whole(target) as unfinished:
        unfinished.write_text(page(rows, misread, model.version))
    record.keep("robustness", rows)
    console.print(shown(rows))
    console.print(f"Slices, and the worst cases to look at: {target.relative_to(record.ROOT)}")


if __name__ == "__main__":
    main()
