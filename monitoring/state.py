"""What the watch is told and what it knows: its settings, and the state it keeps in the store."""

from datetime import datetime

from pydantic import PositiveFloat, PositiveInt

from inkloop.settings import Settings
from monitoring.drift.detector import DetectorSettings
from monitoring.suspicion import SuspicionSettings
from monitoring.trials import TrialSettings
from monitoring.triggers import Decision, TriggerSettings

KEPT_POINTS = 2_000
KEPT_ALARMS = 50


class WatchSettings(Settings):
    """What is watched, and how closely."""

    window: PositiveInt = 50_000  # the newest answers, whose quality is told and whose labels are looked through
    quality_labels: PositiveInt = 500  # the newest labeled answers, that live accuracy is of
    training_minutes: PositiveFloat = 10.0  # that a retraining takes
    # People label on the page what was misread and little else: no accuracy can be told from its answers.
    corrections_only: tuple[str, ...] = ("page",)
    detector: DetectorSettings = DetectorSettings()
    suspicion: SuspicionSettings = SuspicionSettings()
    triggers: TriggerSettings = TriggerSettings()
    trials: TrialSettings = TrialSettings()


class Drift(Settings):
    """An alarm of the detector: when (UTC, of the answer at which it fired), about which model, what spoke loudest."""

    at: datetime
    version: str
    feature: str
    direction: str
    images: int  # since it likely began

    def __str__(self) -> str:
        return f"{self.feature} is {self.direction} since about {self.images:,} digits"


class Point(Settings):
    """What one look saw; the history that is drawn."""

    at: datetime
    version: str
    answers: int  # of the champion, that came in since the look before
    score: float  # of drift; 1 is an alarm
    loudest: str  # the feature that it is of
    accuracy: float | None  # of the champion, on the newest labeled answers
    labels: int  # that it was measured on


class State(Settings):
    """What the watch knows."""

    champion: str = ""  # digest of the model that the detector is about
    detector: str = ""  # its state, base64
    detector_settings: DetectorSettings | None = None  # that it was made with
    read: tuple[str, ...] = ()  # keys of captured answers, in the order they were taken in
    drifts: tuple[Drift, ...] = ()  # about this champion
    points: tuple[Point, ...] = ()
    decision: Decision | None = None  # the latest, though it may say no more than the last one recorded
    ended: tuple[str, ...] = ()  # ids of retrainings whose end was told
