"""Commands of the closed loop: serve, watch, retrain, and the pages that show it."""

import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.commands.options import CHECKOUT, DEFAULT_STORE, Artifacts, Data, Host, ProfileName, Source, Store

app = typer.Typer()


@app.command()
def serve(store: Store = DEFAULT_STORE, host: str = "127.0.0.1", port: int = 3000) -> None:
    """Serve the champion until interrupted."""
    from serving import launch

    sys.exit(launch.serve(store, host, port))


@app.command()
def watch(
    settings: Annotated[Path | None, typer.Option(help="A YAML file that says what differs from the defaults.")] = None,
    store: Store = DEFAULT_STORE,
    artifacts: Artifacts = CHECKOUT / "artifacts",
    data: Data = CHECKOUT / "data",
    host: Host = "",
) -> None:
    """Watch what production sends, and retrain when the model gets worse, until interrupted."""
    import logging

    from pipeline import profile, watch
    from pipeline.retrain import Place

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    chosen = watch.LoopSettings() if settings is None else profile.settings_of(settings, watch.LoopSettings)
    with contextlib.suppress(KeyboardInterrupt):
        watch.watch(Place(store, artifacts, data, host), chosen)


@app.command()
def retrain(
    why: Annotated[str, typer.Option(help="Why; it is kept.")] = "someone asked for it",
    cause: Annotated[str, typer.Option(hidden=True)] = "asked for",
    profile: ProfileName = "retrain",
    source: Source = "mnist",
    store: Store = DEFAULT_STORE,
    artifacts: Artifacts = CHECKOUT / "artifacts",
    data: Data = CHECKOUT / "data",
    host: Host = "",
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
def monitor(
    store: Store = DEFAULT_STORE,
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
            print(f"Nothing was captured in {opened} yet: servers ship it within two minutes.", flush=True)

    if update_only:
        report()
    else:
        ui.serve(kept_in / "workspace", report, host, port, open_because)


@app.command()
def dashboard(store: Store = DEFAULT_STORE, host: str = "127.0.0.1", port: int = 3001) -> None:
    """Show operators what the loop does, until interrupted; beyond this machine, to operators' keys alone."""
    from monitoring.operator.serve import serve

    with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises once more when it has ended
        serve(store, host, port)
