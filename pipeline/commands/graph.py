"""Commands that run the graph: here, or on Kubeflow."""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.options import (
    CHECKOUT,
    DEFAULT_STORE,
    Artifacts,
    Data,
    Experiment,
    Hardware,
    KubeflowHost,
    ProfileName,
    Source,
    Store,
    require,
)

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
def compile_graph(path: Path, profile: ProfileName = "default") -> None:
    """Write the pipeline as Kubeflow's IR YAML, for the profile's cluster."""
    from pipeline import cluster, graph
    from pipeline import profile as profiles

    cluster.compile_to(graph.build(cluster=profiles.load(profile).cluster), path)
    print(f"{path}: written.")


@app.command()
def submit(
    host: KubeflowHost = "",
    profile: ProfileName = "default",
    source: Source = "mnist",
    store: Store = "",
    hardware: Hardware = "",
    experiment: Experiment = "inkloop",
) -> None:
    """Upload the pipeline to Kubeflow and start it; the token of KFP_TOKEN is sent along."""
    from pipeline import cluster
    from pipeline import profile as profiles

    require(KFP_HOST=host, STORE=store)
    job = cluster.job(profile, profiles.load(profile, hardware), source, store, experiment=experiment)
    name = f"{Path(profile).stem} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    submitted = cluster.submit(job, host, name)
    print(f"Version {submitted.version} runs: {submitted.url}")


@app.command()
def schedule(
    when: Annotated[
        str, typer.Option("--cron", help="When: minute, hour, day, month, day of the week; or a word like @daily.")
    ] = "",
    host: KubeflowHost = "",
    profile: ProfileName = "default",
    source: Source = "mnist",
    store: Store = "",
    hardware: Hardware = "",
    experiment: Experiment = "inkloop",
) -> None:
    """Have Kubeflow run the pipeline again and again; the profile's recurring run before is replaced."""
    from pipeline import cluster
    from pipeline import profile as profiles
    from pipeline import schedule as schedules

    require(CRON=when, KFP_HOST=host, STORE=store)
    job = cluster.job(profile, profiles.load(profile, hardware), source, store, cause="schedule", experiment=experiment)
    made, is_new = schedules.schedule(job, host, when)
    print(f"{made.name}: {made.cron} (seconds first){'' if is_new else ', as before'}.")


@app.command()
def unschedule(host: KubeflowHost = "", profile: ProfileName = "default", experiment: Experiment = "inkloop") -> None:
    """Remove the profile's recurring run from Kubeflow."""
    from pipeline import schedule as schedules

    require(KFP_HOST=host)
    name = Path(profile).stem
    removed = schedules.unschedule(host, name, experiment)
    print(f"{name}: removed." if removed else f"{name}: there was no recurring run.")


@app.command("schedules")
def list_schedules(host: KubeflowHost = "", experiment: Experiment = "inkloop") -> None:
    """List the recurring runs on Kubeflow."""
    from pipeline import schedule as schedules

    require(KFP_HOST=host)
    found = schedules.schedules(host, experiment)
    for each in found:
        print(f"{each.name}: {each.cron} ({each.status.lower()})")
    if not found:
        print(f"Experiment {experiment}: no recurring runs.")
