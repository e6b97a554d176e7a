"""Commands about API keys."""

from typing import Annotated

import typer

from pipeline.commands.options import DEFAULT_STORE, Store

Name = Annotated[str, typer.Argument(help="Whose key it is.")]

keys = typer.Typer(help="API keys: who may send corrections, and who may press buttons.", no_args_is_help=True)


@keys.command("add")
def add_key(
    name: Name,
    operator: Annotated[bool, typer.Option("--operator", help="It may press the operators' buttons too.")] = False,
    store: Store = DEFAULT_STORE,
) -> None:
    """Make an API key and print it: it is kept as a hash alone, so this is the only time that it can be read."""
    from infra import api_keys
    from infra.storage import open_store

    print(api_keys.add(open_store(store), name, operator))


@keys.command("remove")
def remove_key(name: Name, store: Store = DEFAULT_STORE) -> None:
    """Let a key hold no longer."""
    from infra import api_keys
    from infra.storage import open_store

    api_keys.remove(open_store(store), name)
    print(f"The key of {name} holds no longer. Servers follow within 5 seconds.")


@keys.command("list")
def list_keys(store: Store = DEFAULT_STORE) -> None:
    """Who has a key, since when, and what for."""
    from infra import api_keys
    from infra.storage import open_store

    for key in api_keys.keys(open_store(store)):
        print(f"{key.name}  {key.since:%Y-%m-%d}  {'operator' if key.operator else 'corrections'}")
