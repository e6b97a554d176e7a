"""A stream of digits answered in order by a model that is retrained as a policy decides: the loop, without its servers.

The stream, the first model, the way of retraining and the gate are the same for every policy.
"""

import copy
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from benchmarks import real_digits, stream
from infra import reference
from inkloop.digits import Digits
from inkloop.evaluation import mcnemar
from inkloop.model import ModelSettings, Recognizer
from inkloop.readings import Reading
from inkloop.training import TrainingSettings, fit, logits
from monitoring import quality
from monitoring.drift.detector import Detector, DetectorSettings
from monitoring.quality import Quality
from monitoring.triggers import Labels, Past, Signals, TriggerSettings, decide

LOOK = 100  # images between two decisions
IMAGES_PER_HOUR = 1_000
LABELED_SHARE = 0.5
LABEL_DELAY = 500  # images that are answered before a label comes in
HELD_OUT_SHARE = 0.2  # of new labels: for early stopping, gate and reference
RUN_MINUTES = 10.0  # that a retraining takes, by the stream's clock
RUN_IMAGES = round(RUN_MINUTES / 60 * IMAGES_PER_HOUR)
NEWEST = 500  # labeled answers that accuracy is measured on
DRIFT_WINDOW = 2_000  # images in which alarms are counted
GATE_P = 0.05
GATE_NEWEST = 300  # of production's held-out digits
START = datetime(2026, 1, 1, tzinfo=UTC)

MODEL = ModelSettings(
    readings=(Reading(kind="rows"), Reading(kind="columns")), hidden_size=32, attention_size=16, fc_size=48, dropout=0.2
)
FIRST = TrainingSettings(epochs=6, batch_size=64, learning_rate=6e-3)
AGAIN = TrainingSettings(epochs=3, batch_size=64, learning_rate=3e-3)


@dataclass(frozen=True)
class Start:
    """What all policies begin with: a model and the digits that it learned, and as many never seen."""

    model: Recognizer
    train: Digits
    validation: Digits
    unseen: Digits


@dataclass
class Champion:
    """The model that answers, since which image, and what it promised on its reference."""

    model: Recognizer
    version: str
    since: int
    counted_from: datetime
    promised: Quality
    in_vain: int = 0


@dataclass
class Replay:
    """What one policy came to."""

    policy: str
    seed: int
    right: list[bool] = field(default_factory=list)
    started: list[int] = field(default_factory=list)  # at which image
    causes: list[str] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    alarms: list[int] = field(default_factory=list)  # of the detector in its window, at each look
    training_s: float = 0.0


def first_model(seed: int, development: bool) -> Start:
    """A small model of 6,000 digits. development: settings are chosen on other digits than they are judged on."""
    known = real_digits.split("train")
    order = np.random.default_rng(seed).permutation(len(known))
    learned, unseen = order[:6_000], order[6_000:]
    unseen = unseen[unseen % 2 == (0 if development else 1)]
    validation = real_digits.split("validation").take(slice(1_000 * seed, 1_000 * (seed + 1)))
    torch.manual_seed(seed)
    model = Recognizer(MODEL)
    fit(model, known.take(learned), validation, FIRST, None, seed)
    return Start(model.eval(), known.take(learned), validation, known.take(unseen))


def replay(
    policy: str, settings: TriggerSettings, is_watching: bool, start: Start, digits: stream.Stream, seed: int
) -> Replay:
    """Answer the stream in order, and retrain as the policy decides. is_watching: whether it has a drift detector."""
    run = Replay(policy, seed)
    random = np.random.default_rng(seed)
    count = len(digits.labels)
    is_labeled, is_held_out = random.random(count) < LABELED_SHARE, random.random(count) < HELD_OUT_SHARE
    answers = np.zeros(count, np.int8)
    champion = Champion(start.model, "0", 0, at(0), promise(start.model, start.validation, None))
    watch = Watch(champion.model, start.validation) if is_watching else None
    coming: tuple[int, Recognizer] | None = None
    for now in range(LOOK, count + 1, LOOK):
        if coming is not None and now >= coming[0]:
            challenger, coming = coming[1], None
            rows = labeled_rows(is_labeled, now)
            held_out = taken(digits, rows[is_held_out[rows]])
            if is_better(challenger, champion.model, start.validation, held_out):
                promised = promise(challenger, start.validation, held_out)
                champion = Champion(challenger, str(now), now, at(now), promised)
                if watch is not None:
                    watch = Watch(challenger, reference_digits(start.validation, held_out))
                run.promoted.append(now)
            else:
                champion.in_vain += 1
        part = slice(now - LOOK, now)
        probabilities = logits(champion.model, torch.from_numpy(digits.images[part])).softmax(1).numpy()
        answers[part] = probabilities.argmax(1)
        run.right += (answers[part] == digits.labels[part]).tolist()
        if watch is not None:
            watch.look(digits.images[part], probabilities, now)
        rows = labeled_rows(is_labeled, now)
        alarms = watch.alarms_since(now - DRIFT_WINDOW) if watch is not None else 0
        run.alarms.append(alarms)
        signals = signals_of(champion, answers, digits.labels, rows, alarms, now)
        past = Past(
            counted_from=champion.counted_from,
            running="a run" if coming else None,
            in_vain=champion.in_vain,
            training_minutes=RUN_MINUTES,
        )
        decision = decide(signals, past, settings, at(now))
        champion.counted_from = decision.counted_from
        if decision.start:
            began = time.process_time()
            challenger = retrained(champion.model, start, digits, rows, is_held_out, seed + now)
            run.training_s += time.process_time() - began
            run.started.append(now)
            run.causes.append(str(decision.cause))
            coming = (now + RUN_IMAGES, challenger)
    return run


def signals_of(
    champion: Champion,
    answers: NDArray[np.int8],
    labels: NDArray[np.int64],
    labeled: NDArray[np.int64],
    alarms: int,
    now: int,
) -> Signals:
    """What the product's monitor would look at: the champion's own answers, with the labels that have come in."""
    known = np.zeros(now, bool)
    known[labeled] = True
    # Labels that came since the champion did are of digits that it has not learned, whoever answered these.
    unlearned = captured_rows(np.arange(max(0, champion.since - LABEL_DELAY), now), answers, labels, known)
    own = captured_rows(np.arange(champion.since, now), answers, labels, known)
    newest, regret = quality.overall(own, NEWEST), quality.avoidable(unlearned, champion.promised)
    since_run = labeled[labeled >= image_at(champion.counted_from) - LABEL_DELAY]
    by_class = np.bincount(labels[since_run], minlength=10)
    return Signals(
        model_version=champion.version,
        drift_alarms=alarms,
        promised=champion.promised.accuracy,
        accuracy=newest.accuracy if newest.answers else None,
        accuracy_high=newest.high if newest.answers else None,
        quality_labels=newest.answers,
        avoidable_errors=regret.errors,
        seen_errors=regret.seen,
        labels=Labels(by_class=tuple(by_class.tolist()), by_source={"production": len(since_run)}),
    )


def captured_rows(
    rows: NDArray[np.int64], answers: NDArray[np.int8], labels: NDArray[np.int64], known: NDArray[np.bool_]
) -> pa.Table:
    """These answers as they were captured, as far as quality looks at them."""
    return pa.table(
        {
            "seen_at": pa.array(microseconds(rows), pa.timestamp("us", tz="UTC")),
            "source": pa.repeat("production", len(rows)),
            "writer": pa.nulls(len(rows), pa.string()),
            "model_version": pa.repeat("", len(rows)),
            "answer": answers[rows],
            "label": pa.array(labels[rows].astype(np.int8), mask=~known[rows]),
        }
    )


def retrained(
    model: Recognizer,
    start: Start,
    digits: stream.Stream,
    labeled: NDArray[np.int64],
    is_held_out: NDArray[np.bool_],
    seed: int,
) -> Recognizer:
    """A new model: warm-started, on the newest 3,000 new digits and as many old ones, 1,500 at least."""
    new = taken(digits, labeled[~is_held_out[labeled]][-3_000:])
    old = np.random.default_rng(seed).permutation(len(start.train))[: max(1_500, len(new))]
    held_out = taken(digits, labeled[is_held_out[labeled]][-1_000:])
    challenger = copy.deepcopy(model)
    fit(challenger, joined(start.train.take(old), new), joined(start.validation, held_out), AGAIN, None, seed)
    return challenger.eval()


def is_better(challenger: Recognizer, champion: Recognizer, fixed: Digits, held_out: Digits) -> bool:
    """The gate, on digits that neither has learned from: better on production's newest, not worse on the fixed ones."""
    newest = held_out.take(slice(max(0, len(held_out) - GATE_NEWEST), None))
    lead, lag = ((model, other) for model, other in ((challenger, champion), (champion, challenger)))
    better = mcnemar(*(is_right(model, newest) for model in lead)) < GATE_P
    return better and mcnemar(*(is_right(model, fixed) for model in lag)) >= GATE_P


def is_right(model: Recognizer, digits: Digits) -> NDArray[np.bool_]:
    """Which digits it reads right, (n,)."""
    right: NDArray[np.bool_] = logits(model, torch.from_numpy(digits.images)).argmax(1).numpy() == digits.labels
    return right


class Watch:
    """The product's detector on one model's answers, and when it gave alarm."""

    def __init__(self, model: Recognizer, known: Digits) -> None:
        answers = logits(model, torch.from_numpy(known.images)).softmax(1).numpy()
        self._detector = Detector.from_reference(known.images, answers, DetectorSettings())
        self._alarms: list[int] = []

    def look(self, images: NDArray[np.uint8], probabilities: NDArray[np.float32], now: int) -> None:
        """Show it the latest answers; now: how many images the stream has had."""
        self._alarms += [now] * len(self._detector.update(images, probabilities))

    def alarms_since(self, image: int) -> int:
        """How many alarms there were since then."""
        return sum(alarm >= image for alarm in self._alarms)


def promise(model: Recognizer, validation: Digits, held_out: Digits | None) -> Quality:
    """What the model shows on its reference, which is production's digits where there are enough: `infra.reference`."""
    right = is_right(model, reference_digits(validation, held_out))
    return Quality(int(right.sum()), len(right))


def reference_digits(validation: Digits, held_out: Digits | None) -> Digits:
    """The digits of a model's reference."""
    if held_out is None:
        return validation
    return held_out if len(held_out) >= reference.ENOUGH else joined(validation, held_out)


def taken(digits: stream.Stream, rows: NDArray[np.int64]) -> Digits:
    """These rows of the stream."""
    return Digits(digits.images[rows], digits.labels[rows], ("",) * len(rows))


def joined(first: Digits, second: Digits) -> Digits:
    """Both, one after the other."""
    images, labels = (np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("images", "labels"))
    return Digits(images, labels, first.ids + second.ids)


def labeled_rows(is_labeled: NDArray[np.bool_], now: int) -> NDArray[np.int64]:
    """The rows whose label has come in once the stream has had so many images."""
    return np.flatnonzero(is_labeled[: max(0, now - LABEL_DELAY)])


def at(image: int) -> datetime:
    """When the stream has had so many images."""
    return START + timedelta(hours=image / IMAGES_PER_HOUR)


def microseconds(images: NDArray[np.int64]) -> NDArray[np.int64]:
    """`at` of many, in microseconds since 1970."""
    return int(START.timestamp() * 1e6) + images * 3_600_000_000 // IMAGES_PER_HOUR


def image_at(when: datetime) -> int:
    """How many images the stream has had by then."""
    return round((when - START).total_seconds() / 3600 * IMAGES_PER_HOUR)
