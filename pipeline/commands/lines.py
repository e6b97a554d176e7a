"""The command that trains a model of lines and appoints it."""

from typing import Annotated

import typer

from pipeline.commands.options import CHECKOUT, DEFAULT_STORE, By, Data, Store

app = typer.Typer()


@app.command()
def lines(
    dismiss: Annotated[bool, typer.Option("--dismiss", help="Have lines read no longer.")] = False,
    store: Store = DEFAULT_STORE,
    data: Data = CHECKOUT / "data",
    by: By = "unknown",
) -> None:
    """Train a model that reads lines of digits, and have it read what comes to /predict/line."""
    from infra import readers
    from infra.storage import open_store

    home = open_store(store)
    if dismiss:
        readers.dismiss(home, "line")
        print("Lines are read no longer. Servers follow within 5 seconds.")
        return
    from pipeline import lines as training

    version, cer = training.train(home, data, training.LinesSettings(), by)
    print(f"Model {version} reads lines, {cer:.2%} of the validation digits wrong. Servers follow within 5 seconds.")
