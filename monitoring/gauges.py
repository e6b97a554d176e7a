"""What Prometheus may ask of the watch: drift, live accuracy, labels, retrainings, and that it is alive."""

from collections.abc import Sequence
from datetime import datetime
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from inkloop.errors import UserError
from monitoring.retrainings import Outcome, Retraining
from monitoring.state import Drift, State
from monitoring.triggers import Decision

REGISTRY = CollectorRegistry()
SCORE = Gauge("inkloop_drift_score", "Drift of the inputs and answers, 1 is an alarm", ["version"], registry=REGISTRY)
ALARMS = Counter("inkloop_drift_alarms", "Alarms of the drift detector", registry=REGISTRY)
ACCURACY = Gauge("inkloop_live_accuracy", "Of the newest labeled answers, 0 to 1", ["version"], registry=REGISTRY)
LABELS = Gauge("inkloop_labels_waiting", "Labels since the last retraining started", registry=REGISTRY)
RETRAININGS = Counter("inkloop_retrainings", "Retrainings by how they ended", ["outcome"], registry=REGISTRY)
LAST_LOOK = Gauge(
    "inkloop_watch_last_run_timestamp_seconds", "When the watch last looked, since 1970", registry=REGISTRY
)


class Gauges:
    """Keeps the metrics up to what the watch knows."""

    def __init__(self) -> None:
        for outcome in get_args(Outcome):
            if outcome != "running":
                RETRAININGS.labels(outcome)  # else the first failure would be no rise of a count
        self._alarms: set[Drift] = set()
        self._ended: dict[str, Outcome] = {}

    def serve(self, port: int, host: str = "127.0.0.1") -> None:
        """Answer Prometheus there. Raises UserError if the port is taken."""
        try:
            start_http_server(port, addr=host, registry=REGISTRY)
        except OSError as error:
            raise UserError(
                f"metrics_port {port}: cannot be had ({error.strerror or error}). Give another in the settings, or 0."
            ) from error

    def show(self, state: State, decision: Decision, retrainings: Sequence[Retraining], now: datetime) -> None:
        """Show what one look came to."""
        version = decision.signals.model_version
        for gauge in (SCORE, ACCURACY):
            gauge.clear()  # else the champions of before would stay
        if state.points and state.points[-1].version == version:
            SCORE.labels(version).set(state.points[-1].score)
        if decision.signals.accuracy is not None:
            ACCURACY.labels(version).set(decision.signals.accuracy)
        LABELS.set(decision.signals.labels.usable)
        for drift in state.drifts:
            if drift not in self._alarms:
                ALARMS.inc()
                self._alarms.add(drift)
        for each in retrainings:
            if each.outcome != "running" and each.id not in self._ended:
                RETRAININGS.labels(each.outcome).inc()
                self._ended[each.id] = each.outcome
        LAST_LOOK.set(now.timestamp())
