"""The command that trains a model of pen strokes and appoints it."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.options import CHECKOUT, DEFAULT_STORE, By, Data, Store

app = typer.Typer()


@app.command()
def strokes(
    file: Annotated[Path | None, typer.Option(help="Pen strokes to learn from too: UNIPEN, or UCI's rows.")] = None,
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Have strokes read as pictures again.")] = False,
    store: Store = DEFAULT_STORE,
    data: Data = CHECKOUT / "data",
    by: By = "unknown",
) -> None:
    """Train a model that reads pen strokes, and have it read what comes to /predict/strokes."""
    from infra import readers
    from infra.storage import open_store

    home = open_store(store)
    if dismiss:
        readers.dismiss(home, "pen")
        print("Strokes are read as pictures, by the champion. Servers follow within 5 seconds.")
        return
    from pipeline import strokes as training

    version, accuracy = training.train(home, data, file, training.StrokesSettings(), by)
    print(f"Model {version} reads strokes, {accuracy:.2%} of those held out. Servers follow within 5 seconds.")
