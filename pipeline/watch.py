"""The watch on this machine: looks again and again, starts retrainings as processes of their own, tells people."""

import logging
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Annotated

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import Field, PositiveFloat

from infra import lease, registry
from infra.notifications import VARIABLE_PREFIX, Event, NotificationSettings, notify
from infra.storage import open_store
from inkloop.errors import UserError
from inkloop.settings import Settings
from monitoring.decisions import WATCH_LEASE
from monitoring.gauges import Gauges
from monitoring.state import WatchSettings
from monitoring.watch import Watch
from pipeline import graph
from pipeline import profile as profiles
from pipeline.retrain import Place

log = logging.getLogger(__name__)


class LoopSettings(Settings):
    """How the loop runs: how often it looks, what it watches, what a retraining is."""

    interval_s: PositiveFloat = 30.0  # between two looks
    lease_s: PositiveFloat = 30.0  # after which another watch takes over from one that died
    metrics_host: str = "127.0.0.1"  # in a container 0.0.0.0: Prometheus is elsewhere
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 9464  # 0: none
    profile: str = "retrain"  # of a retraining
    source: str = "mnist"  # its old digits
    watch: WatchSettings = WatchSettings()


def watch(place: Place, settings: LoopSettings) -> None:
    """Watch the store until interrupted; where another process watches it, wait until that one is gone.

    Raises UserError if there is no champion yet, no such profile, or the port of the metrics is taken.
    """
    store, gauges = open_store(place.store), Gauges()
    champion = registry.reigning(store)
    people = NotificationSettings.from_environment(VARIABLE_PREFIX)
    _require_a_retraining_could_start(place, settings)
    if settings.metrics_port:
        gauges.serve(settings.metrics_port, settings.metrics_host)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # gives the lease back
    address = f"http://{settings.metrics_host}:{settings.metrics_port}"
    metrics = f"metrics on {address}" if settings.metrics_port else "no metrics"
    where = f"retrainings on {place.host}" if place.host else "retrainings here"
    print(f"Watching {store}, champion {champion.version}; {where}; {metrics}. Ctrl+C ends it.", flush=True)

    def start(cause: str, why: str) -> None:
        _start_retraining(place, settings, cause, why)

    def tell(event: Event) -> None:
        log.warning("%s: %s", event.title, event.text)
        try:
            notify(event, people)
        except UserError as error:
            log.error("%s", error)

    waits = False
    watching = Watch(store, settings.watch, start, tell)
    while True:
        try:
            with lease.held(store, WATCH_LEASE, settings.lease_s, settings.lease_s / 4) as held:
                if waits:
                    log.warning("The other is gone: this one watches now.")
                waits = False
                while held.is_ours():
                    now = datetime.now(UTC)
                    gauges.show(*watching.look(now), now)
                    time.sleep(settings.interval_s)
        except lease.Taken as taken:
            if not waits:
                log.warning("Another watches, this one waits: %s", taken)
            waits = True
        except (UserError, BotoCoreError, ClientError) as error:  # the store is away, or not filled yet
            log.warning("%s", error)
        time.sleep(min(settings.interval_s, settings.lease_s / 4))


def _require_a_retraining_could_start(place: Place, settings: LoopSettings) -> None:
    """Better now than when it is needed: raise UserError for a profile, a source or a store that will not do."""
    chosen = profiles.load(settings.profile)
    if place.host:
        graph.arguments_on_cluster(chosen, settings.source, place.store)
    else:
        graph.arguments_here(chosen, settings.source, place.store, place.data)


def _start_retraining(place: Place, settings: LoopSettings, cause: str, why: str) -> None:
    """Begin it in a process of its own, which outlives this one; its output goes to a file."""
    place.artifacts.mkdir(parents=True, exist_ok=True)
    options = {
        "store": place.store,
        "profile": settings.profile,
        "source": settings.source,
        "artifacts": str(place.artifacts),
        "data": str(place.data),
        "host": place.host,
        "cause": cause,
        "why": why,
        "suspicion": settings.watch.suspicion.model_dump_json(),
    }
    command = [sys.executable, "-m", "pipeline", "retrain", *(f"--{name}={value}" for name, value in options.items())]
    with (place.artifacts / "retraining.log").open("a") as output:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
