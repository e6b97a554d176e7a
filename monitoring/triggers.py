"""Triggers: whether a retraining starts now. One pure decision; nothing is read, started or kept here.

Cost against regret weighs wrong answers that a new model would not give against what making it costs, as Modyn does
(Boether 2025, "Modyn: Data-Centric Machine Learning Pipeline Orchestration"). To start once regret has reached the
price costs at most twice what foresight would have (Karlin 1988, "Competitive snoopy caching": rent or buy).
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from inkloop.settings import Settings, Share

MAX_DOUBLINGS = 5
SKEW = timedelta(minutes=1)  # a last run this far ahead is another machine's clock; further ahead, a clock was wrong

Cause = Literal["regret", "quality", "estimate", "labels", "schedule", "drift"]
Obstacle = Literal["running", "cooldown", "too little", "one-sided", "suspicious"]
Verdict = Literal["start", "wait", "refuse", "ask for labels", "quiet"]
Hours = Annotated[float, Field(ge=0)]


class TriggerSettings(Settings):
    """When a retraining starts. Shares and accuracies are in 0..1; None switches a trigger off."""

    errors_per_training_minute: PositiveFloat | None = 10.0  # wrong answers that one minute of training is worth
    min_evidence: PositiveInt = 10  # avoidable errors on labeled digits: fewer may be chance
    max_fall: Share | None = (
        0.05  # of accuracy below the promised; for those with too few requests for errors to pile up
    )
    min_quality_labels: PositiveInt = 100  # that accuracy is measured on
    new_labels: PositiveInt | None = 20_000  # worth learning whatever the model reads now
    every_hours: PositiveFloat | None = None
    # What changes the pictures need not change the answers: a drift alarm alone asks for labels.
    drift_starts: bool = False
    min_drift_alarms: PositiveInt = 2  # one may be the false one that the detector was set to

    cooldown_hours: Hours = 0.25  # doubled, as the price is, for each run in a row that brought no better model
    min_labels: PositiveInt = 200  # to learn from
    min_misread: PositiveInt = 50  # avoidable errors among them: a run that starts on fewer is mostly in vain
    min_classes: Annotated[int, Field(ge=1, le=10)] = 8
    min_per_class: PositiveInt = 5
    max_class_share: Share = 0.5
    max_source_share: Share = 1.0  # most have one source
    max_suspicious_share: Share = 0.2  # up to this suspicious labels are left out; beyond, a person has to look


class Labels(Settings):
    """Labels that no retraining has learned from: those to learn from, by class and by source, and those left out."""

    by_class: tuple[NonNegativeInt, ...] = (0,) * 10
    by_source: dict[str, NonNegativeInt] = Field(default_factory=dict)
    suspicious: NonNegativeInt = 0  # left out, and not counted above
    suspicions: tuple[str, ...] = ()  # why, for people

    @property
    def usable(self) -> int:
        """How many can be learned from."""
        return sum(self.by_class)


class Signals(Settings):
    """What is looked at. Accuracy and errors are of the champion's answers, without those in `labels.suspicious`."""

    model_version: str = ""  # of the champion
    drift_alarms: NonNegativeInt = 0  # of the detector, in its latest window
    promised: Share | None = None  # accuracy on the champion's reference
    accuracy: Share | None = None  # on the latest labeled digits
    accuracy_high: Share | None = None  # upper end of its confidence interval
    quality_labels: NonNegativeInt = 0  # that accuracy was measured on
    avoidable_errors: NonNegativeFloat = 0.0  # since the model got worse, among all its answers
    seen_errors: NonNegativeFloat = 0.0  # of these, on labeled digits
    estimated_errors: NonNegativeFloat = 0.0  # guessed from confidences alone, where there are too few labels
    labels: Labels = Labels()


class Past(Settings):
    """What went before."""

    counted_from: datetime  # when the last run started, or the champion came if that was later (UTC)
    running: str | None = None  # who holds the lease, for people; None: nobody
    in_vain: NonNegativeInt = 0  # runs since the champion last changed
    training_minutes: PositiveFloat = 10.0  # that a run takes


class Decision(Settings):
    """Whether a retraining starts, why or why not, and what was looked at; the record that is kept."""

    at: datetime
    verdict: Verdict
    cause: Cause | None  # the trigger that fired
    obstacle: Obstacle | None  # what kept it from starting a run
    reason: str  # one sentence, for people
    counted_from: datetime  # what the next decision has to count time from
    signals: Signals

    @property
    def start(self) -> bool:
        """Whether a retraining starts."""
        return self.verdict == "start"


def decide(signals: Signals, past: Past, settings: TriggerSettings, now: datetime) -> Decision:
    """Decide at `now` (UTC); the same input gives the same decision.

    A run starts if a trigger fires and nothing stands against it. If the last run lies ahead of `now`, a clock was
    wrong, and time is counted from now on: the cooldown does not last for ever, the schedule does not fire at once.
    """
    counted_from = min(past.counted_from, now) if past.counted_from <= now + SKEW else now
    elapsed = now - counted_from
    fired = _fired(signals, past, settings, elapsed)
    against = [_obstacle(signals, cause, past, settings, elapsed) for cause, _ in fired]
    # The most pressing trigger that nothing stands against, or else the most pressing: one more cannot hold others up.
    chosen = against.index(None) if None in against else 0
    verdict: Verdict
    cause: Cause | None = None
    obstacle: Obstacle | None = None
    if not fired and signals.drift_alarms >= settings.min_drift_alarms:
        verdict, reason = "ask for labels", f"The input has drifted, {_quality_in_words(signals, settings)}."
    elif not fired:
        verdict, reason = "quiet", "Nothing calls for a retraining."
    else:
        cause, why = fired[chosen]
        verdict, reason = "start", f"{why}."
        if (found := against[chosen]) is not None:
            obstacle, but = found
            verdict, reason = _verdict_against(obstacle), f"{why}, but {but}."
    return Decision(
        at=now,
        verdict=verdict,
        cause=cause,
        obstacle=obstacle,
        reason=reason,
        counted_from=now if verdict == "start" else counted_from,
        signals=signals,
    )


def price_in_errors(past: Past, settings: TriggerSettings) -> float | None:
    """The wrong answers that a retraining must save to be worth it; None: the trigger is off."""
    if settings.errors_per_training_minute is None:
        return None
    return settings.errors_per_training_minute * past.training_minutes * _doubled(past)


def _fired(signals: Signals, past: Past, settings: TriggerSettings, elapsed: timedelta) -> list[tuple[Cause, str]]:
    """The triggers that fire, the most pressing first, and why."""
    fired: list[tuple[Cause, str]] = []
    price = price_in_errors(past, settings)
    measured = signals.quality_labels >= settings.min_quality_labels
    if price is not None and signals.avoidable_errors >= price and signals.seen_errors >= settings.min_evidence:
        errors = f"Some {signals.avoidable_errors:.0f} answers were wrong that need not be"
        fired.append(("regret", f"{errors}, a run is worth {price:.0f}"))
    if _has_fallen(signals, settings) and measured:
        right = f"{signals.accuracy:.1%} of {signals.quality_labels} answers were right"
        fired.append(("quality", f"{right}, where {signals.promised:.1%} were promised"))
    if price is not None and signals.estimated_errors >= price and not measured:
        errors = f"the model misread some {signals.estimated_errors:.0f} digits more than promised"
        fired.append(("estimate", f"Going by its confidence, {errors}"))
    if settings.new_labels is not None and signals.labels.usable >= settings.new_labels:
        fired.append(("labels", f"{signals.labels.usable} digits were labeled since the last run"))
    if settings.every_hours is not None and elapsed >= timedelta(hours=settings.every_hours):
        fired.append(("schedule", f"The last run was {elapsed.total_seconds() / 3600:.1f} hours ago"))
    if settings.drift_starts and signals.drift_alarms >= settings.min_drift_alarms:
        fired.append(("drift", "The input has drifted"))
    return fired


def _has_fallen(signals: Signals, settings: TriggerSettings) -> bool:
    if settings.max_fall is None or signals.promised is None or signals.accuracy_high is None:
        return False
    return signals.accuracy_high < signals.promised - settings.max_fall


def _obstacle(
    signals: Signals, cause: Cause, past: Past, settings: TriggerSettings, elapsed: timedelta
) -> tuple[Obstacle, str] | None:
    """The first thing that stands against a run, and how to say it."""
    if past.running is not None:
        return "running", f"a run is on its way ({past.running})"
    # Regret has paid for the runs in vain already: its price doubled.
    cooldown = timedelta(hours=settings.cooldown_hours) * (1 if cause == "regret" else _doubled(past))
    if elapsed < cooldown:
        vain = f" ({past.in_vain} in a row brought nothing better)" if past.in_vain else ""
        return (
            "cooldown",
            f"the last run was {_minutes(elapsed)} ago{vain}, the next may start after {_minutes(cooldown)}",
        )
    labels = signals.labels
    usable, suspicious = labels.usable, labels.suspicious
    # Before too little: where most labels are left out, to ask for more would be the wrong advice.
    if suspicious > settings.max_suspicious_share * (usable + suspicious):
        return (
            "suspicious",
            f"{suspicious} of {usable + suspicious} labels are suspicious ({'; '.join(labels.suspicions)})",
        )
    if usable < settings.min_labels:
        return (
            "too little",
            f"only {usable} labels are new, {settings.min_labels} are needed",
        )
    if cause in ("regret", "quality") and signals.seen_errors < settings.min_misread:
        return (
            "too little",
            f"only {signals.seen_errors:.0f} misread digits were labeled, {settings.min_misread} are needed",
        )
    return _one_sided(labels, settings)


def _one_sided(labels: Labels, settings: TriggerSettings) -> tuple[Obstacle, str] | None:
    present = sum(count >= settings.min_per_class for count in labels.by_class)
    if present < settings.min_classes:
        return "one-sided", f"the labels are of {present} classes, {settings.min_classes} are needed"
    largest = max(labels.by_class)
    if largest > settings.max_class_share * labels.usable:
        return "one-sided", f"{largest} of {labels.usable} labels are the digit {labels.by_class.index(largest)}"
    source, most = max(labels.by_source.items(), key=lambda each: each[1], default=("", 0))
    if most > settings.max_source_share * labels.usable:
        return "one-sided", f"{most} of {labels.usable} labels are from {source}"
    return None


def _verdict_against(obstacle: Obstacle) -> Verdict:
    if obstacle in ("running", "cooldown"):
        return "wait"
    return "ask for labels" if obstacle == "too little" else "refuse"


def _quality_in_words(signals: Signals, settings: TriggerSettings) -> str:
    if signals.quality_labels < settings.min_quality_labels:
        return f"and {signals.quality_labels} labeled answers cannot tell whether the answers got worse: label more"
    return "but the labeled answers are about as right as promised"


def _doubled(past: Past) -> int:
    return int(2 ** min(past.in_vain, MAX_DOUBLINGS))


def _minutes(duration: timedelta) -> str:
    return f"{duration.total_seconds() / 60:.0f} minutes"
