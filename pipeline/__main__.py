"""`python -m pipeline`: run the graph here, compile it, submit it to Kubeflow; serve, try and roll back models."""

import contextlib
import shlex
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from inkloop.errors import UserError

CHECKOUT = Path(__file__).parent.parent
DEFAULT_STORE = CHECKOUT / "store"

ProfileName = Annotated[str, typer.Option("--profile", help="smoke, default, full, or a YAML file.")]
Source = Annotated[str, typer.Option(help="A data set by name (mnist), a folder of digits, or an IDX file.")]
By = Annotated[str, typer.Option(envvar="USER", help="Who does this; it is kept.")]
Version = Annotated[str, typer.Argument(help="The model_version of an answer, or a whole digest.")]
Store = Annotated[str, typer.Option(help="Where models are kept: a folder, or s3://bucket/prefix.")]

Name = Annotated[str, typer.Argument(help="Whose key it is.")]

app = typer.Typer(help=__doc__, pretty_exceptions_enable=False, no_args_is_help=True, add_completion=False)
keys = typer.Typer(help="API keys: who may send corrections, and who may press buttons.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@app.command()
def run(
    profile: ProfileName = "default",
    source: Source = "mnist",
    store: Store = str(DEFAULT_STORE),
    artifacts: Annotated[Path, typer.Option(help="Where outputs, cache and log go.")] = CHECKOUT / "artifacts",
    data: Annotated[Path, typer.Option(help="Where data sets known by name are kept.")] = CHECKOUT / "data",
) -> None:
    """Run the whole pipeline on this machine."""
    from infra import registry
    from infra.storage import open_store
    from pipeline import summary
    from pipeline.run import run as run_here

    console = Console()
    try:
        finished, came_to = run_here(profile, source, store, artifacts, data, console)
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last finished step.", file=sys.stderr)
        raise typer.Exit(130) from None
    sample = artifacts / "digit.png"  # not in `latest`: it is there still when a later run failed
    summary.draw_sample(finished, sample)
    serving = "make serve" if store == str(DEFAULT_STORE) else f"make serve STORE={shlex.quote(store)}"
    has_champion = registry.champion(open_store(store)) is not None
    summary.show(came_to, artifacts / "latest", sample, serving if has_champion else None, console)


@app.command()
def retrain(
    why: Annotated[str, typer.Option(help="Why; it is kept.")] = "someone asked for it",
    cause: Annotated[str, typer.Option(hidden=True)] = "asked for",
    profile: ProfileName = "retrain",
    source: Source = "mnist",
    store: Store = str(DEFAULT_STORE),
    artifacts: Annotated[Path, typer.Option(help="Where outputs, cache and log go.")] = CHECKOUT / "artifacts",
    data: Annotated[Path, typer.Option(help="Where data sets known by name are kept.")] = CHECKOUT / "data",
    host: Annotated[str, typer.Option(envvar="KFP_HOST", help="Kubeflow Pipelines to run it on; empty: here.")] = "",
    suspicion: Annotated[str, typer.Option(hidden=True)] = "{}",
) -> None:
    """Train the champion on, on what production sent and people labeled; the gate says what becomes of it."""
    from monitoring.suspicion import SuspicionSettings
    from pipeline import retrain as retraining

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # says that it was stopped, and gives the lease back
    settings = retraining.RetrainingSettings(
        profile=profile, source=source, suspicion=SuspicionSettings.model_validate_json(suspicion)
    )
    place = retraining.Place(store, artifacts, data, host)
    try:
        ended = retraining.retrain(place, settings, cause, why, Console())
    except KeyboardInterrupt:
        print("Stopped; it is kept as one that failed.", file=sys.stderr)
        raise typer.Exit(130) from None
    print(f"Retraining {ended.id}: {ended.outcome}; {ended.verdict}")


@app.command()
def watch(
    settings: Annotated[Path | None, typer.Option(help="A YAML file that says what differs from the defaults.")] = None,
    store: Store = str(DEFAULT_STORE),
    artifacts: Annotated[Path, typer.Option(help="Where a retraining's outputs, cache and log go.")] = CHECKOUT
    / "artifacts",
    data: Annotated[Path, typer.Option(help="Where data sets known by name are kept.")] = CHECKOUT / "data",
    host: Annotated[str, typer.Option(envvar="KFP_HOST", help="Kubeflow Pipelines to retrain on; empty: here.")] = "",
) -> None:
    """Watch what production sends, and retrain when the model gets worse, until interrupted."""
    import logging

    from pipeline import profile, watch
    from pipeline.retrain import Place

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    chosen = watch.LoopSettings() if settings is None else profile.settings_of(settings, watch.LoopSettings)
    with contextlib.suppress(KeyboardInterrupt):
        watch.watch(Place(store, artifacts, data, host), chosen)


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
) -> None:
    """Upload the pipeline to Kubeflow and start it; the token of KFP_TOKEN is sent along."""
    from pipeline import cluster, graph
    from pipeline import profile as profiles

    if not host:
        raise UserError("KFP_HOST: not set. Say where Kubeflow Pipelines is, as KFP_HOST=http://host:port.")
    arguments = graph.arguments_on_cluster(profiles.load(profile), source, store)
    name = f"{Path(profile).stem} {datetime.now(UTC):%Y-%m-%d %H:%M}"
    submitted = cluster.submit(graph.build(), arguments, host, name)
    print(f"Version {submitted.version} runs: {submitted.url}")


@app.command()
def serve(store: Store = str(DEFAULT_STORE), host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve the champion until interrupted."""
    from serving import launch

    sys.exit(launch.serve(store, host, port))


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    store: Store = str(DEFAULT_STORE),
    by: By = "unknown",
) -> None:
    """Put the champion before back; the one now is not promoted again until it is readmitted."""
    from infra import registry
    from infra.storage import open_store

    restored = registry.rollback(open_store(store), reason, by)
    taken_back = registry.version_of(restored.rolled_back[-1].digest)
    print(f"Champion {restored.version} is back; {taken_back} was rolled back. Servers follow within 5 seconds.")


@app.command()
def readmit(version: Version, store: Store = str(DEFAULT_STORE)) -> None:
    """Let a model that was rolled back be judged and promoted again."""
    from infra import registry
    from infra.storage import open_store

    home = open_store(store)
    registry.readmit(home, digest := registry.resolve(home, version))
    print(f"Model {registry.version_of(digest)} may be promoted again.")


@app.command()
def challenge(
    version: Version,
    shadow: Annotated[bool, typer.Option("--shadow", help="Only compare its answers with the champion's.")] = False,
    canary: Annotated[float | None, typer.Option(help="Let it answer this share, such as 0.05.")] = None,
    store: Store = str(DEFAULT_STORE),
    by: By = "unknown",
) -> None:
    """Try a published model on real requests, in place of the challenger before."""
    from infra import challenger, registry
    from infra.storage import open_store

    if shadow == (canary is not None):
        raise UserError("challenge: give either --shadow or --canary SHARE.")
    home = open_store(store)
    tried = challenger.challenge(home, registry.resolve(home, version), canary, by)
    how = "in the shadow" if canary is None else f"by {canary:.3g} of those who ask"
    print(f"Challenger {tried.version} is tried {how}. Servers follow within 5 seconds.")


@app.command()
def withdraw(store: Store = str(DEFAULT_STORE)) -> None:
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


@keys.command("add")
def add_key(
    name: Name,
    operator: Annotated[bool, typer.Option("--operator", help="It may press the operators' buttons too.")] = False,
    store: Store = str(DEFAULT_STORE),
) -> None:
    """Make an API key and print it: it is kept as a hash alone, so this is the only time that it can be read."""
    from infra import api_keys
    from infra.storage import open_store

    print(api_keys.add(open_store(store), name, operator))


@keys.command("remove")
def remove_key(name: Name, store: Store = str(DEFAULT_STORE)) -> None:
    """Let a key hold no longer."""
    from infra import api_keys
    from infra.storage import open_store

    api_keys.remove(open_store(store), name)
    print(f"The key of {name} holds no longer. Servers follow within 5 seconds.")


@keys.command("list")
def list_keys(store: Store = str(DEFAULT_STORE)) -> None:
    """Who has a key, since when, and what for."""
    from infra import api_keys
    from infra.storage import open_store

    for key in api_keys.keys(open_store(store)):
        print(f"{key.name}  {key.since:%Y-%m-%d}  {'operator' if key.operator else 'corrections'}")


@app.command()
def forget(
    person: Annotated[str, typer.Argument(help="The person, as sent in the header Inkloop-Person.")],
    store: Store = str(DEFAULT_STORE),
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
        "arrive without hers."
    )


@app.command()
def expire(
    store: Store = str(DEFAULT_STORE),
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


@app.command()
def monitor(
    store: Store = str(DEFAULT_STORE),
    host: str = "127.0.0.1",
    port: int = 8000,
    minutes: Annotated[int, typer.Option(help="How much time a report is of: 60 for each hour.")] = 1440,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where reports are kept. Default: a folder a store in artifacts/monitoring."),
    ] = None,
    update_only: Annotated[bool, typer.Option("--update-only", help="Show nothing.")] = False,
    open_because: Annotated[str, typer.Option(help="Why a host that others reach is safe.")] = "",
) -> None:
    """Bring the reports on what was captured up to date, and show them until interrupted."""
    from infra import captured, registry
    from infra.storage import open_store
    from monitoring.reports import ui, workspace

    opened = open_store(store)
    registry.reigning(opened)
    kept_in = folder or CHECKOUT / "artifacts" / "monitoring" / registry.store_id(opened)

    def report() -> None:
        reported, sheets = workspace.update(opened, kept_in, minutes), kept_in / "strangest" / str(minutes)
        print(f"Windows with new reports: {len(reported)}. The strangest inputs: {sheets}", flush=True)
        if not captured.keys(opened, captured.ANSWERS):
            print(f"Nothing was captured in {opened} yet: `make serve` keeps what it is asked.", flush=True)

    if update_only:
        report()
    else:
        ui.serve(kept_in / "workspace", report, host, port, open_because)


@app.command()
def dashboard(store: Store = str(DEFAULT_STORE), host: str = "127.0.0.1", port: int = 3001) -> None:
    """Show operators what the loop does, until interrupted; beyond this machine, to operators' keys alone."""
    from monitoring.operator.serve import serve

    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises once more when it has ended
        serve(store, host, port)


def main() -> None:
    """Run a command; a mistake that the user can mend ends it with one sentence and exit code 2."""
    from pipeline.local import StepFailed

    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except StepFailed as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
