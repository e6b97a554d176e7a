"""A sequential drift detector that keeps the run between false alarms it is asked for.

Shiryaev-Roberts sums of conformal bets, several on each feature, averaged. While nothing changes, what a sum is above
the number of images is a martingale, and so is their mean, however the features depend on each other.
"""

import json
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from inkloop.errors import UserError
from inkloop.settings import Settings
from monitoring.drift import conformal
from monitoring.drift.conformal import BETS, DIRECTIONS, Counts
from monitoring.drift.features import NAMES, Basis, basis_of, features

RENEWAL = 0.02  # the bets are weighed anew when the pool has grown by this share
BASIS_SHARE = 0.25  # of the reference
CHUNK = 128  # images that are looked at before anything is asked about alarms
MEMORY = 2_000  # images back to which the start of a change is looked for


class DetectorSettings(Settings):
    """How often a false alarm may come."""

    expected_run: Annotated[int, Field(ge=10)] = 100_000  # images between two of them, on average


@dataclass(frozen=True)
class Alarm:
    """Something has changed. Images are counted from 0, the first after the reference.

    direction: what the feature has become: "lower", "higher" or "wider".
    """

    at: int  # the image at which it was noticed
    since: int  # about the first image after the change
    feature: str  # the one that speaks loudest
    direction: str


class Detector:
    """Watches a stream of pictures and answers, in memory that does not grow with it."""

    def __init__(self, basis: Basis, edges: NDArray[np.float64], pool: Counts, threshold: float) -> None:
        """Start a stream; see `from_reference`. pool: counts of the values seen so far, (features, bins)."""
        self.seen = 0
        self.basis, self._edges, self.threshold = basis, edges, threshold
        self._pool, self._fresh = pool, np.zeros_like(pool)
        self._ratios = conformal.ratios_of(pool)
        # Of each bet: the likelihood ratio of a change, summed over all images at which it may have come.
        self._sums = np.zeros(pool.shape[0] * len(DIRECTIONS) * len(BETS))
        self._recent = np.zeros((0, pool.shape[0]), np.uint8)  # bins, of images since the last alarm

    @classmethod
    def from_reference(
        cls, images: NDArray[np.uint8], probabilities: NDArray[np.float32], settings: DetectorSettings, seed: int = 0
    ) -> Self:
        """A detector of changes from these pictures and answers, in a few seconds.

        images: uint8 (n, 28, 28), not learned from by the model; probabilities: float32 (n, 10). A quarter
        of them, drawn by seed, gives the features' basis and only the others are counted: a basis fits its own pictures
        better than new ones.
        """
        order = np.random.default_rng(seed).permutation(len(images))
        fitted, counted = np.split(order, [int(BASIS_SHARE * len(order))])
        basis = basis_of(images[fitted])
        values = features(images[counted], probabilities[counted], basis).astype(float)
        edges = conformal.edges_of(values)
        bins = conformal.bins_of(values, edges)
        threshold = conformal.threshold_for(settings.expected_run, bins, seed)
        return cls(basis, edges, conformal.counts_of(bins), threshold)

    def update(self, images: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> list[Alarm]:
        """Look at the next pictures and answers, any number, and return the alarms; after one the sums start anew.

        images: uint8 (n, 28, 28); probabilities: float32 (n, 10). How a stream is cut into calls changes nothing.
        """
        return self.update_features(features(images, probabilities, self.basis)) if len(images) else []

    def update_features(self, values: NDArray[np.float32]) -> list[Alarm]:
        """As `update`, of pictures whose features on `basis` are known: (n, len(NAMES))."""
        bins = conformal.bins_of(values.astype(float), self._edges)
        alarms: list[Alarm] = []
        while len(bins):
            looked, alarm = self._advance(bins[: min(CHUNK, self._renewal_at - self._grown)])
            alarms += [alarm] if alarm else []
            bins = bins[looked:]
            if self._grown == self._renewal_at:
                self._pool, self._fresh = self._pool + self._fresh, np.zeros_like(self._fresh)
                self._ratios = conformal.ratios_of(self._pool)
        return alarms

    @property
    def _grown(self) -> int:
        return int(self._fresh[0].sum())

    @property
    def _renewal_at(self) -> int:
        return max(1, int(RENEWAL * self._pool[0].sum()))

    def _advance(self, bins: Counts) -> tuple[int, Alarm | None]:
        """Look at these up to the first alarm; returns how many those are, and the alarm."""
        sums, ones = conformal.picked(self._ratios, bins), np.ones_like(self._sums)
        before = self._sums
        with np.errstate(over="ignore"):  # long after an alarm that is only found below
            for row in sums:
                row *= np.add(before, ones)
                before = row
        fired = np.flatnonzero(sums.sum(1) >= self.threshold * sums.shape[1])
        looked = int(fired[0]) + 1 if len(fired) else len(bins)
        self.seen += looked
        self._sums = sums[looked - 1].copy()
        self._fresh += conformal.counts_of(bins[:looked])
        self._recent = np.concatenate([self._recent, bins[:looked].astype(np.uint8)])[-MEMORY:]
        if not len(fired):
            return looked, None
        alarm = self._alarm()
        self._sums, self._recent = np.zeros_like(self._sums), self._recent[:0]
        return looked, alarm

    def _alarm(self) -> Alarm:
        sums = self._sums.reshape(len(NAMES), len(DIRECTIONS), len(BETS))
        feature, direction = np.unravel_index(sums.sum(-1).argmax(), sums.shape[:2])
        bet = direction * len(BETS) + sums[feature, direction].argmax()
        backward = np.log(self._ratios[feature, self._recent[::-1, feature], bet]).cumsum()
        at = self.seen - 1
        return Alarm(at, at - int(backward.argmax()), NAMES[feature], DIRECTIONS[direction])

    @property
    def score(self) -> float:
        """How near an alarm is: 0 at rest, 1 would be one (on a logarithmic scale)."""
        return self._score(self._sums.mean())

    def loudest(self) -> list[tuple[str, str, float]]:
        """Each feature and direction with its part of the score, loudest first."""
        parts = self._sums.reshape(len(NAMES), len(DIRECTIONS), len(BETS)).sum(-1) / len(self._sums)
        found = [
            (feature, direction, self._score(part))
            for feature, row in zip(NAMES, parts, strict=True)
            for direction, part in zip(DIRECTIONS, row, strict=True)
        ]
        return sorted(found, key=lambda each: -each[-1])

    def _score(self, statistic: float) -> float:
        return float(np.log(max(statistic, 1.0)) / np.log(self.threshold))

    def to_bytes(self) -> bytes:
        """All of its state."""
        numbers = {"seen": self.seen, "threshold": self.threshold, "features": NAMES}
        file = BytesIO()
        np.savez_compressed(
            file,
            numbers=np.array(json.dumps(numbers)),
            mean=self.basis.mean,
            components=self.basis.components,
            edges=self._edges,
            pool=self._pool,
            fresh=self._fresh,
            sums=self._sums,
            recent=self._recent,
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The detector of `to_bytes`, which goes on where it was. Raises UserError if it is not one of today's."""
        try:
            state = dict(np.load(BytesIO(content), allow_pickle=False))
            numbers = json.loads(str(state["numbers"]))
        except (BadZipFile, zlib.error, ValueError, KeyError, TypeError, EOFError) as error:
            raise UserError(f"not the state of a detector ({error}). Start one from the model's reference.") from None
        if tuple(numbers["features"]) != NAMES:
            raise UserError("a detector of other features than today's. Start one from the model's reference.")
        basis = Basis(state["mean"], state["components"])
        detector = cls(basis, state["edges"], state["pool"], numbers["threshold"])
        detector.seen, detector._fresh = numbers["seen"], state["fresh"]
        detector._sums, detector._recent = state["sums"], state["recent"]
        return detector
