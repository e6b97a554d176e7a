"""The command that goes from one answer back to the bytes it was learned from."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.options import CHECKOUT, DEFAULT_STORE, Data, Store, require

if TYPE_CHECKING:
    from pipeline.links import Link

WIDTH = 1000  # the terminal wraps what is longer than its lines; rich would cut it, and a link's state with it
STYLES = {"ok": "green", "changed": "bold red", "missing": "yellow", "recorded": "dim"}

app = typer.Typer()


@app.command()
def trace(
    prediction: Annotated[str, typer.Argument(help="The prediction_id of an answer.")],
    as_json: Annotated[bool, typer.Option("--json", help="All of it, as JSON.")] = False,
    store: Store = DEFAULT_STORE,
    data: Data = CHECKOUT / "data",
) -> None:
    """Show where an answer comes from: model, run, code, settings, data; exit code 1 if any of it has changed since."""
    from infra.storage import open_store
    from pipeline import trace as tracing

    require(ID=prediction)
    chain = tracing.trace(open_store(store), prediction, data.absolute())
    if as_json:
        print(json.dumps(dataclasses.asdict(chain), indent=2, default=str))
    else:
        _draw(chain)
    if any(link.state == "changed" for link in chain.walk()):
        raise typer.Exit(1)


def _draw(chain: "Link") -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    def grow(tree: Tree, link: "Link") -> None:
        for name, value in link.facts.items():
            if value not in (None, "") and not isinstance(value, dict):
                tree.add(Text(f"{name}: {value}", style="dim"))
        for each in link.below:
            grow(tree.add(head(each)), each)

    def head(link: "Link") -> Text:
        return Text.assemble((link.what, "bold"), f" {link.name} ", (link.state, STYLES[link.state]))

    tree = Tree(head(chain))
    grow(tree, chain)
    Console(width=WIDTH).print(tree)
