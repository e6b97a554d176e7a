"""The command that exports a model to every format, each checked against torch."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import CHECKOUT, DEFAULT_STORE, Data, Store

TEST_DIGITS = 10_000  # of MNIST

app = typer.Typer()


@app.command()
def exports(
    model: Annotated[str, typer.Argument(help="A model directory; empty: the champion.")] = "",
    into: Annotated[Path, typer.Option(help="Where the exports go.")] = CHECKOUT / "artifacts" / "exports",
    digits: Annotated[int, typer.Option(min=1, max=TEST_DIGITS, help="MNIST test digits each is asked.")] = TEST_DIGITS,
    store: Store = DEFAULT_STORE,
    data: Data = CHECKOUT / "data",
) -> None:
    """Write a model as ONNX, torch.export, OpenVINO, LiteRT and for TensorRT, and compare each with torch."""
    import torch
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from infra import registry
    from infra.storage import open_store
    from inkloop import artifacts, download, idx, mnist
    from inkloop.files import written_whole
    from inkloop.formats import table
    from inkloop.formats.comparison import LOG_NAME, compare
    from inkloop.formats.equality import Timing

    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        if model:
            folder = Path(model)
        else:
            home, folder = open_store(store), Path(scratch) / "champion"
            registry.fetch(home, registry.reigning(home).digest, folder)
        artifacts.info(folder)
        version = registry.version_of(artifacts.digest(folder))
        source = download.ensure(data / mnist.NAME)
        # Copied, since torch warns of arrays that cannot be written to.
        images, labels = (
            idx.read(source / f"t10k-{kind}-ubyte")[:digits].copy() for kind in ("images-idx3", "labels-idx1")
        )
        rows = []
        for row in compare(folder, into, images, labels, Timing()):
            console.print(f"{row.format}: {row.file or row.remark}")
            rows.append(row)
    title = f"Exports of model {version}, asked {digits:,} MNIST test digits, on one thread"
    with written_whole(into / "table.md") as unfinished:
        unfinished.write_text(table.page(title, rows))
    kept = {"model": version, "digits": digits, "rows": [dataclasses.asdict(row) for row in rows]}
    with written_whole(into / "table.json") as unfinished:
        unfinished.write_text(json.dumps(kept, indent=2) + "\n")
    shown = Table(*table.BRIEF, title=title, box=box.SIMPLE)
    for row in rows:
        shown.add_row(*table.brief(row))
    console.print(shown, *table.remarks(rows), sep="\n", markup=False, highlight=False)
    console.print(f"Kept: {into}/table.md, table.json, and {LOG_NAME}, what the formats' packages printed.")
    if unequal := [row.format for row in rows if row.is_equal is False]:
        console.print(f"Not as torch answers: {', '.join(unequal)}.")
        raise typer.Exit(1)
