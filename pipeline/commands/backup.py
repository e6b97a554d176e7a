"""Commands that copy a whole store: back it up, bring it back."""

from typing import Annotated

import typer

from inkloop.errors import UserError
from pipeline.commands.options import DEFAULT_STORE, Store

app = typer.Typer()

Place = Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix.")]


@app.command()
def backup(to: Place, store: Store = DEFAULT_STORE) -> None:
    """Copy the whole store to an empty place, while it is in use."""
    _copy(store, to, "Say where to: make backup TO=/backups/2026-11-26.")


@app.command()
def restore(source: Place, store: Store = DEFAULT_STORE) -> None:
    """Bring a backup back, as a store that was empty."""
    _copy(source, store, "Say from where: make restore FROM=/backups/2026-11-26.")


def _copy(source: str, target: str, missing: str) -> None:
    from infra import backup, registry
    from infra.storage import open_store

    if not source or not target:
        raise UserError(missing)
    opened = open_store(target)
    copied = backup.copy(open_store(source, existing=True), opened)
    print(f"{copied} objects are in {opened}; its champion is {registry.reigning(opened).version}.")
