"""From what production has seen to the decision: honest strangers start a run, poison does not."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from labeled import answered, flipped, spread

from infra import captured
from inkloop import digits
from monitoring.signals import gather
from monitoring.state import Drift, WatchSettings
from monitoring.triggers import Decision, Past, TriggerSettings, decide

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SEEN = NOW - timedelta(hours=2)
LAST_RUN = NOW - timedelta(hours=9)


def seen(table: pa.Table) -> pa.Table:
    """The rows as of two hours ago, one each second."""
    moments = [SEEN + timedelta(seconds=row) for row in range(table.num_rows)]
    at = table.schema.get_field_index("seen_at")
    return table.set_column(at, table.schema.field(at), pa.array(moments, pa.timestamp("us", tz="UTC")))


def given(table: pa.Table, when: datetime = NOW) -> pa.Table:
    """The labels of these rows, as someone gave them."""
    labeled = table.filter(table.column("label").is_valid())
    columns = {
        "prediction_id": labeled.column("prediction_id"),
        "label": labeled.column("label"),
        "writer": pa.nulls(labeled.num_rows, pa.string()),
        "source": labeled.column("source"),
        "seen_at": pa.array([when] * labeled.num_rows, pa.timestamp("us", tz="UTC")),
    }
    return pa.table(columns).cast(captured.LABEL_SCHEMA)


def decided(table: pa.Table, known: pa.Table, when: datetime = NOW, drifts: tuple[Drift, ...] = ()) -> Decision:
    """What is decided of these answers, with labels given then."""
    version = table.column("model_version")[0].as_py()
    found = gather(table, given(table, when), known, version, drifts, LAST_RUN, WatchSettings())
    return decide(found, Past(counted_from=LAST_RUN), TriggerSettings(), NOW)


def test_labeled_strangers_that_are_misread_start_a_run(champion, known, strangers):
    table = seen(answered(champion, strangers, strangers.labels, ["new"] * 1797))
    decision = decided(table, known)
    assert (decision.verdict, decision.cause) == ("start", "regret")
    assert decision.signals.labels.usable == 1797
    assert decision.signals.labels.by_source == {"new": 1797}


def test_strangers_without_labels_are_asked_to_be_labeled(champion, known, mnist):
    test = mnist["test"].take(slice(0, 2000))
    turned = digits_of(np.rot90(test.images, axes=(1, 2)).copy(), test)
    drift = Drift(at=SEEN, version=champion.version, feature="confidence", direction="lower", images=100)
    decision = decided(seen(answered(champion, turned, np.full(2000, -1), ["new"] * 2000)), known, drifts=(drift,))
    assert (decision.verdict, decision.cause, decision.obstacle) == ("ask for labels", "estimate", "too little")


def test_false_labels_do_not_make_the_champion_look_bad(champion, known, mnist):
    shown, sources = mnist["test"].take(slice(0, 2000)), spread(2000)
    poisoned = (sources == "scans") & (np.random.default_rng(1).random(2000) < 0.2)
    table = seen(answered(champion, shown, flipped(shown.labels, poisoned), sources))
    decision = decided(table, known)
    assert decision.verdict == "quiet"
    found = decision.signals
    assert found.labels.suspicious > 80
    assert "source scans: " in found.labels.suspicions[0]
    honest = table.filter(pa.array(~poisoned)).column("answer").to_numpy()[-500:]
    real = float((honest == shown.labels[~poisoned][-500:]).mean())
    believed = float((table.column("answer").to_numpy()[-500:] == table.column("label").to_numpy()[-500:]).mean())
    assert believed < real - 0.03
    assert found.accuracy == pytest.approx(real, abs=0.03)


def test_labels_from_before_the_last_run_are_not_new(champion, known, strangers):
    table = seen(answered(champion, strangers, strangers.labels, ["new"] * 1797))
    decision = decided(table, known, when=LAST_RUN - timedelta(minutes=1))
    assert decision.signals.labels.usable == 0
    assert (decision.verdict, decision.obstacle) == ("ask for labels", "too little")


def test_digits_that_another_model_misread_are_to_be_learned_once_they_are_labeled(champion, known, strangers):
    table = seen(answered(champion, strangers, strangers.labels, ["new"] * 1797))
    late, early = (
        gather(table, given(table, when), known, "another", (), LAST_RUN, WatchSettings())
        for when in (NOW, LAST_RUN - timedelta(minutes=1))
    )
    assert late.accuracy is None, "of the champion's own answers nothing is known"
    assert late.seen_errors > 100
    assert early.seen_errors == 0, "these were learned in the last run"


def test_a_store_that_has_seen_nothing_is_quiet(known):
    empty, none = captured.SCHEMA.empty_table(), captured.LABEL_SCHEMA.empty_table()
    found = gather(empty, none, known, "any", (), LAST_RUN, WatchSettings())
    assert decide(found, Past(counted_from=LAST_RUN), TriggerSettings(), NOW).verdict == "quiet"


def digits_of(images: np.ndarray, like: digits.Digits) -> digits.Digits:
    return digits.Digits(images, like.labels, tuple(digits.digit_id(image) for image in images))
