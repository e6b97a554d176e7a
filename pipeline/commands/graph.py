"""Commands that run the graph: here, or on Kubeflow."""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from inkloop.errors import UserError
from pipeline.commands.options import CHECKOUT, DEFAULT_STORE, Artifacts, Data, Hardware, ProfileName, Source, Store

app = typer.Typer()


@app.command()
def run(
    profile: ProfileName = "default",
    source: Source = "mnist",
    store: Store = DEFAULT_STORE,
    artifacts: Artifacts = CHECKOUT / "artifacts",
    data: Data = CHECKOUT / "data",
    hardware: Hardware = "",
) -> None:
    """Run the whole pipeline on this machine."""
    from infra import registry
    from infra.storage import open_store
    from pipeline import summary
    from pipeline.run import run as run_here

    console = Console()
    try:
        finished, came_to = run_here(profile, source, store, artifacts, data, console, hardware=hardware)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last finished step.", file=sys.stderr)
        raise typer.Exit(130) from None
    sample = artifacts / "digit.png"  # not in `latest`: it is there still when a later run failed
    summary.draw_sample(finished, sample)
    serving = "make serve" if store == DEFAULT_STORE else f"make serve STORE={shlex.quote(store)}"
    has_champion = registry.champion(open_store(store)) is not None
    summary.show(came_to, artifacts / "latest", sample, serving if has_champion else None, console)


@app.command("compile")
def compile_graph(path: Path) -> None:
    """Write the pipeline as Kubeflow's IR YAML, one for all profiles."""
    from pipeline import cluster, graph

    cluster.compile_to(graph.build(), path)
    print(f"{path}: written.")


@app.command()
def submit(
    host: Annotated[str, typer.Option(envvar="KFP_HOST", help="http://host:port of Kubeflow Pipelines.")] = "",
    profile: ProfileName = "default",
    source: Source = "mnist",
    store: Store = "",
    hardware: Hardware = "",
) -> None:
    """Upload the pipeline to Kubeflow and start it; the token of KFP_TOKEN is sent along."""
    from pipeline import cluster, graph
    from pipeline import profile as profiles

    if not host:
        raise UserError("KFP_HOST: not set. Say where Kubeflow Pipelines is, as KFP_HOST=http://host:port.")
    arguments = graph.arguments_on_cluster(profiles.load(profile, hardware), source, store)
    name = f"{Path(profile).stem} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    submitted = cluster.submit(graph.build(), arguments, host, name)
    print(f"Version {submitted.version} runs: {submitted.url}")
