"""The watch: looks at what production sent, sees drift and falling quality, and decides when to learn again.

All that it knows lies in the store and is written once a look, after everything else: killed anywhere, it looks again.
"""

import base64
import logging
import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra import captured, reference, registry
from infra.notifications import Event
from infra.registry import Champion
from infra.storage import Missing, Store
from inkloop import digits
from inkloop.errors import UserError
from monitoring import decisions, requests, retrainings, trials, triggers
from monitoring.drift.detector import Detector
from monitoring.inflow import Inflow, start_after
from monitoring.requests import Request
from monitoring.retrainings import Retraining
from monitoring.signals import gather
from monitoring.state import KEPT_ALARMS, KEPT_POINTS, Drift, Point, State, WatchSettings
from monitoring.triggers import Decision, Past, Signals

STATE = "loop/watch.json"
STARTING_S = 120.0  # within which a retraining that was started has taken its lease, or will not

log = logging.getLogger(__name__)


class Watch:
    """Watches one store. `look` does one round; whoever calls it holds the watch's lease."""

    def __init__(
        self,
        store: Store,
        settings: WatchSettings,
        start: Callable[[str, str], None],
        tell: Callable[[Event], None],
    ) -> None:
        """start: begins a retraining, for a cause and a reason, and returns at once; tell: passes an event on."""
        self._store, self._settings, self._start, self._tell = store, settings, start, tell
        self._inflow = Inflow(store, settings.window)
        self._reference: tuple[str, pa.Table] | None = None
        self._started_s = -math.inf  # when this watch last started a retraining
        self._judged = 0  # labels that the trials have looked at
        self._gathered: tuple[tuple[object, ...], Signals] | None = None

    def look(self, now: datetime) -> tuple[State, Decision, list[Retraining]]:
        """Take in what is new, decide, act on it, and keep what is known.

        Returns that, the decision, and the newest retrainings. Raises UserError if the store is away.
        """
        champion = registry.reigning(self._store)
        tried = retrainings.settled(self._store, now)
        state, etag = self._known()
        state = self._tell_of_ends(state, tried)
        known = self._reference_of(champion)
        if state.champion != champion.digest:
            state = self._welcome(state, champion)
        detector = self._detector(state, known)
        answers, state = self._take_in(state, champion)
        state = self._see_drift(state, detector, answers, champion)
        window = self._inflow.window()
        own = [each for each in tried if each.champion == champion.digest and each.started <= now]
        past = self._past(champion, own, now)
        learned = retrainings.last_learned(own) or min(champion.since, past.counted_from)
        signals = self._signals(window, known, champion, state, learned)
        decision = triggers.decide(signals, past, self._settings.triggers, now)
        self._act(decision)
        self._grant(requests.pending(self._store), window, past.running is not None or decision.start)
        self._try_models(champion, window, now)
        if answers.num_rows or not state.points:
            point = _point(now, champion, answers.num_rows, detector, signals)
            state = state.model_copy(update={"points": (*state.points, point)[-KEPT_POINTS:]})
        changed = {"decision": decision, "detector_settings": self._settings.detector}
        state = state.model_copy(update=changed)
        self._store.put(STATE, state.model_dump_json().encode(), if_match=etag, if_none_match=etag is None)
        return state, decision, tried

    def _known(self) -> tuple[State, str | None]:
        try:
            content, etag = self._store.get_with_etag(STATE)
        except Missing:
            return State(), None
        return State.model_validate_json(content), etag

    def _past(self, champion: Champion, own: Sequence[Retraining], now: datetime) -> Past:
        """What went before, as decided here and, of what people started, as it was done: own, of this champion."""
        past = decisions.past(self._store, champion, self._settings.training_minutes, now)
        counted_from = max([past.counted_from, *(each.started for each in own)])
        in_vain = max(past.in_vain, sum(each.outcome in ("refused", "failed") for each in own))
        past = past.model_copy(update={"counted_from": counted_from, "in_vain": in_vain})
        if past.running is None and time.monotonic() - self._started_s < STARTING_S:
            return past.model_copy(update={"running": "it is starting", "in_vain": max(0, past.in_vain - 1)})
        return past

    def _tell_of_ends(self, state: State, tried: Sequence[Retraining]) -> State:
        """Tell of the retrainings that have ended without a new champion; of one people hear anyway."""
        ended = [each for each in tried if each.ended is not None]
        for each in ended:
            if each.id not in state.ended and each.outcome in ("failed", "refused"):
                self._tell(Event("retraining", f"Retraining {each.id}: {each.outcome}", each.verdict, each.started))
        if ended:
            self._started_s = -math.inf if ended[-1].id not in state.ended else self._started_s
        return state.model_copy(update={"ended": tuple(each.id for each in ended)})

    def _reference_of(self, champion: Champion) -> pa.Table:
        if self._reference is None or self._reference[0] != champion.digest:
            self._reference = champion.digest, reference.read(self._store, champion.digest)
        return self._reference[1]

    def _detector(self, state: State, known: pa.Table) -> Detector:
        if state.detector and state.detector_settings == self._settings.detector:
            try:
                return Detector.from_bytes(base64.b64decode(state.detector))
            except UserError as error:  # of another release, or damaged
                log.warning("The detector begins anew: %s", error)
        return Detector.from_reference(*_pictures(known), self._settings.detector)

    def _welcome(self, state: State, champion: Champion) -> State:
        """Begin anew with a new champion; what was read stays read."""
        if state.champion:
            reason = f"{champion.decision.get('reason', 'no reason was kept')}."
            self._tell(Event("champion", f"Champion {champion.version} answers", reason, champion.since))
        return state.model_copy(update={"champion": champion.digest, "detector": "", "drifts": ()})

    def _take_in(self, state: State, champion: Champion) -> tuple[pa.Table, State]:
        """The champion's answers that were never taken in before, in an order that says nothing."""
        start, read = start_after(state.read), set(state.read)
        held = self._inflow.poll(start)
        fresh = {key: table for key, table in held.items() if key not in read}
        rows = pa.concat_tables([captured.SCHEMA.empty_table(), *fresh.values()])
        answers = rows.filter(pc.equal(rows.column("model_version"), champion.version))
        # Many digits of one hand in a row look like a change; an id ends in random digits.
        answers = answers.take(pc.sort_indices(pc.utf8_reverse(answers.column("prediction_id"))))
        kept = (key for key in state.read if start is None or captured.hour_of(key) >= start)
        return answers, state.model_copy(update={"read": (*kept, *fresh)})

    def _see_drift(self, state: State, detector: Detector, answers: pa.Table, champion: Champion) -> State:
        """Hand the answers to the detector, and tell of each feature that has not been told of."""
        if not answers.num_rows:
            return state.model_copy(update={"detector": base64.b64encode(detector.to_bytes()).decode()})
        before, seen_at = detector.seen, answers.column("seen_at")
        drifts = [
            Drift(
                at=seen_at[alarm.at - before].as_py(),
                version=champion.version,
                feature=alarm.feature,
                direction=alarm.direction,
                images=alarm.at - alarm.since + 1,
            )
            for alarm in detector.update(*_pictures(answers))
        ]
        told = {(drift.feature, drift.direction) for drift in state.drifts}
        for drift in drifts:
            if (drift.feature, drift.direction) not in told:
                told.add((drift.feature, drift.direction))
                text = f"Of the pictures that model {champion.version} is asked to read."
                self._tell(Event("drift", f"Drift: {drift}", text, drift.at))
        kept = (*state.drifts, *drifts)[-KEPT_ALARMS:]
        return state.model_copy(update={"detector": base64.b64encode(detector.to_bytes()).decode(), "drifts": kept})

    def _signals(self, window: pa.Table, known: pa.Table, champion: Champion, state: State, since: datetime) -> Signals:
        """The signals now; gathered anew only if something is new, for with many labels that takes seconds.

        since: labels that came later are not learned yet.
        """
        labels = self._inflow.labels()
        newest = window.column("prediction_id")[-1].as_py() if window.num_rows else ""
        seen = (champion.digest, newest, window.num_rows, labels.num_rows, len(state.drifts), since)
        if self._gathered is None or self._gathered[0] != seen:
            settings = self._settings
            self._gathered = (
                seen,
                gather(window, labels, known, champion.version, state.drifts, since, settings),
            )
        return self._gathered[1]

    def _act(self, decision: Decision) -> None:
        is_news = decisions.record(self._store, decision)
        if decision.start:
            self._started_s = time.monotonic()
            self._start(decision.cause or "", decision.reason)
        # That one waits for the retraining of which people have just heard is no news to them.
        if is_news and decision.verdict != "quiet" and decision.obstacle != "running":
            self._tell(Event("decision", f"Retraining: {decision.verdict}", decision.reason, decision.at))

    def _grant(self, waiting: Sequence[Request], window: pa.Table, is_running: bool) -> None:
        """Start one retraining for all who asked for it; while one runs, requests wait."""
        if not waiting or is_running:
            return
        why = "; ".join(f"{asked.by}: {asked.why}" for asked in waiting)
        outcome = "a retraining was started"
        if window.column("label").null_count < window.num_rows:
            self._started_s = time.monotonic()
            self._start("asked for", why)
        else:
            outcome = "nothing is labeled yet"
            self._tell(
                Event("retraining", "No retraining", f"It was asked for ({why}), but {outcome}.", waiting[-1].at)
            )
        for asked in waiting:
            requests.done(self._store, asked, outcome)

    def _try_models(self, champion: Champion, window: pa.Table, now: datetime) -> None:
        """Rule on a challenger, and on a champion that is no better than the one before, as labels come in."""
        labeled = window.filter(pc.is_valid(window.column("label")))
        if labeled.num_rows == self._judged:
            return
        self._judged = labeled.num_rows
        if (ruled := trials.rule(self._store, champion, labeled, self._settings.trials)) is not None:
            self._tell(Event("trial", ruled.title, ruled.text, now))


def _point(now: datetime, champion: Champion, answers: int, detector: Detector, signals: Signals) -> Point:
    return Point(
        at=now,
        version=champion.version,
        answers=answers,
        score=detector.score,
        loudest=detector.loudest()[0][0],
        accuracy=signals.accuracy,
        labels=signals.quality_labels,
    )


def _pictures(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return np.stack(list(digits.images_of(table))), captured.probabilities_of(table)
