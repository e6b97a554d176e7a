"""Commands about what was captured: forget a person, let what is old go."""

from datetime import timedelta
from typing import Annotated

import typer

from inkloop.errors import UserError
from pipeline.commands.options import DEFAULT_STORE, Store

app = typer.Typer()


@app.command()
def forget(
    person: Annotated[str, typer.Argument(help="The person, as sent in the header Inkloop-Person.")],
    store: Store = DEFAULT_STORE,
) -> None:
    """Remove what one person wrote or labeled from all that was captured."""
    from infra.storage import open_store
    from serving import shipping
    from serving.capture import VARIABLE_PREFIX, CaptureSettings

    if not person.strip():
        raise UserError("no person named: give the one whose digits are to go, as sent in the header Inkloop-Person.")
    opened = open_store(store)
    removed = shipping.forget(CaptureSettings.from_environment(VARIABLE_PREFIX).folder_for(opened), opened, person)
    print(
        f"{removed} captured digits and labels are removed from {opened}. What servers have not shipped yet will "
        "arrive without theirs."
    )


@app.command()
def expire(
    store: Store = DEFAULT_STORE,
    days: Annotated[int | None, typer.Option(min=1, help="Default: INKLOOP_CAPTURE_RETENTION_DAYS.")] = None,
) -> None:
    """Delete what was captured longer ago than that many days; a server does so every hour."""
    from infra.storage import open_store
    from serving import shipping
    from serving.capture import VARIABLE_PREFIX, CaptureSettings

    opened, settings = open_store(store), CaptureSettings.from_environment(VARIABLE_PREFIX)
    older = timedelta(days=days or settings.retention_days)
    expired = shipping.expire(settings.folder_for(opened), opened, older)
    print(f"{expired} objects older than {older.days} days are deleted from {opened}.")
