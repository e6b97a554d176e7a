"""Commands about which model answers: roll back, readmit, try, withdraw."""

from typing import Annotated

import typer

from inkloop.errors import UserError
from pipeline.commands.options import DEFAULT_STORE, By, Store, require

Version = Annotated[str, typer.Argument(help="The model_version of an answer, or a whole digest.")]

app = typer.Typer()


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    store: Store = DEFAULT_STORE,
    by: By = "unknown",
) -> None:
    """Put the champion before back; the one now is not promoted again until it is readmitted."""
    from infra import registry
    from infra.storage import open_store

    restored = registry.rollback(open_store(store), reason, by)
    taken_back = registry.version_of(restored.rolled_back[-1].digest)
    print(f"Champion {restored.version} is back; {taken_back} was rolled back. Servers follow within 5 seconds.")


@app.command()
def readmit(version: Version, store: Store = DEFAULT_STORE) -> None:
    """Let a model that was rolled back be judged and promoted again."""
    from infra import registry
    from infra.storage import open_store

    require(VERSION=version)
    home = open_store(store)
    registry.readmit(home, digest := registry.resolve(home, version))
    print(f"Model {registry.version_of(digest)} may be promoted again.")


@app.command()
def challenge(
    version: Version,
    shadow: Annotated[bool, typer.Option("--shadow", help="Only compare its answers with the champion's.")] = False,
    canary: Annotated[float | None, typer.Option(help="Let it answer this share, such as 0.05.")] = None,
    store: Store = DEFAULT_STORE,
    by: By = "unknown",
) -> None:
    """Try a published model on real requests, in place of the challenger before."""
    from infra import challenger, registry
    from infra.storage import open_store

    require(VERSION=version)
    if shadow == (canary is not None):
        raise UserError("challenge: give either --shadow or --canary SHARE.")
    home = open_store(store)
    tried = challenger.challenge(home, registry.resolve(home, version), canary, by)
    how = "in the shadow" if canary is None else f"by {canary:.3g} of those who ask"
    print(f"Challenger {tried.version} is tried {how}. Servers follow within 5 seconds.")


@app.command()
def withdraw(store: Store = DEFAULT_STORE) -> None:
    """Try no challenger any longer."""
    from infra import challenger, registry
    from infra.storage import open_store

    home = open_store(store)
    registry.reigning(home)  # a wrong store has no champion: better said than taken for done
    if (tried := challenger.challenger(home)) is None:
        print("No challenger was tried, so there is nothing to withdraw.")
        return
    challenger.withdraw(home)
    print(f"Challenger {tried.version} is withdrawn. Servers follow within 5 seconds.")
