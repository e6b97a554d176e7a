"""Signals: what the decision about a retraining looks at, gathered from the newest answers and their labels."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from infra import captured
from monitoring import quality, suspicion
from monitoring.state import Drift, WatchSettings
from monitoring.suspicion import Suspicion
from monitoring.triggers import Labels, Signals

CLASSES = 10


def gather(
    window: pa.Table,
    labels: pa.Table,
    reference: pa.Table,
    version: str,
    drifts: Sequence[Drift],
    unlearned_since: datetime,
    settings: WatchSettings,
) -> Signals:
    """The signals about the champion of this version.

    window, reference: of `captured.SCHEMA`; labels: of `captured.LABEL_SCHEMA`; unlearned_since: when the last
    retraining took its labels.
    """
    suspicions = suspicion.find(window, reference, settings.suspicion, labels)
    honest = without(window, suspicions)
    telling = honest.filter(
        pc.invert(pc.is_in(honest.column("source"), value_set=pa.array(settings.corrections_only, pa.string())))
    )
    is_own = pc.equal(telling.column("model_version"), version)
    own = telling.filter(is_own)
    promised = quality.overall(reference)
    live = quality.overall(own, settings.quality_labels)
    # What was labeled since then is not learned yet, whoever answered it.
    new = captured.since(labels, unlearned_since)
    fresh = new.column("prediction_id").combine_chunks()
    unlearned = telling.filter(pc.or_(is_own, pc.is_in(telling.column("prediction_id"), value_set=fresh)))
    avoidable = quality.avoidable(unlearned, promised)
    return Signals(
        model_version=version,
        drift_alarms=_recent(drifts, window),
        promised=promised.accuracy if promised.answers else None,
        accuracy=live.accuracy if live.answers else None,
        accuracy_high=live.high if live.answers else None,
        quality_labels=live.answers,
        avoidable_errors=avoidable.errors,
        seen_errors=avoidable.seen,
        estimated_errors=quality.estimated_errors(_since_drift(own, drifts), reference),
        labels=_new_labels(window, honest, new, suspicions),
    )


def without(table: pa.Table, suspicions: Sequence[Suspicion]) -> pa.Table:
    """The rows that no suspicion is about."""
    kept = np.ones(table.num_rows, bool)
    for each in suspicions:
        kept[each.rows] = False
    return table.filter(pa.array(kept))


def _recent(drifts: Sequence[Drift], window: pa.Table) -> int:
    """How many alarms there were in the window's time: now and then one is false, and they must not add up."""
    oldest = pc.min(window.column("seen_at")).as_py()
    return sum(oldest is not None and drift.at >= oldest for drift in drifts)


def _since_drift(own: pa.Table, drifts: Sequence[Drift]) -> pa.Table:
    """The answers since the first alarm: before it, confidence is no sign of harm. None where nothing drifted."""
    return captured.since(own, drifts[0].at) if drifts else own.slice(0, 0)


def _new_labels(window: pa.Table, honest: pa.Table, new: pa.Table, suspicions: Sequence[Suspicion]) -> Labels:
    """What the labels that are not learned yet come to."""
    rows = captured.with_labels(honest, new)
    rows = rows.filter(pc.is_valid(rows.column("label")))
    is_new = pc.is_valid(captured.with_labels(window, new).column("label")).to_numpy(zero_copy_only=False)
    found = {each.reason: int(is_new[each.rows].sum()) for each in suspicions}
    return Labels(
        by_class=tuple(np.bincount(rows.column("label").to_numpy(), minlength=CLASSES).tolist()),
        by_source=dict(Counter(rows.column("source").to_pylist())),
        suspicious=sum(found.values()),
        suspicions=tuple(reason for reason, count in found.items() if count),
    )
