"""Suspicion: labels that look like poison, by the source or person they come from, to be left out of training.

A population that is new to the champion contradicts it as poison does, often and surely. But an honest one agrees with
itself: digits that look alike are labeled alike. So the witnesses are the nearest neighbors among the other new labels
and in the champion's reference (Wilson 1972, "Asymptotic properties of nearest neighbor rules using edited data"), and
the champion's answer only counts where it says what they say.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt
from scipy import ndimage
from scipy.stats import binom

from infra import captured
from inkloop.settings import Settings, Share

CLASSES = 10
NEIGHBORS = 8
AGAINST, IN_FAVOR = 5, 1  # so many neighbors at least say another label, so many at most the given one
DOUBTFUL = 0.3  # probability that the champion gives a label below which it is doubtful
ALIKE = 0.995  # cosine of two pictures of which one is a copy of the other, with noise or turned by a few degrees
POOL = 4_000  # rows among which neighbors are sought: time grows with the rows, not with their square
PART = 1_000  # rows compared at a time: 28 MB
SEED = 0  # of the choice of the pool

Kind = Literal["contradicted labels", "copies", "one class"]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Features = NDArray[np.float32]


class SuspicionSettings(Settings):
    """From when on a source or person is suspicious. Shares are of its labels, in 0..1."""

    min_labels: PositiveInt = 50  # fewer prove nothing
    # Twice this is allowed: honest digits, 4% to 66% of them misread, had up to 2.2% (docs/triggers.md).
    honest_contradicted: Share = 0.012
    honest_copies: Share = 0.05
    chance: PositiveFloat = 1e-3  # that any honest one is called suspicious of one kind
    all_contradicted: Share = 0.2  # from here on none of its labels is to be trusted
    max_class_share: Share = 0.6


@dataclass(frozen=True)
class Suspicion:
    """What is wrong with one source or person."""

    who: str  # "source scans", "writer 3f2a"
    kind: Kind
    rows: Rows  # of the table, to leave out
    reason: str  # one sentence, for people


def find(
    table: pa.Table, reference: pa.Table, settings: SuspicionSettings, labels: pa.Table | None = None
) -> list[Suspicion]:
    """What is suspicious among the labeled rows of a table. Takes some 1.3 s for 30,000 of them.

    table, reference: of `captured.SCHEMA`, pictures of one size; rows without label are no one's suspicion. labels: of
    `captured.LABEL_SCHEMA`, to suspect those who gave the labels too.
    """
    rows = np.flatnonzero(pc.is_valid(table.column("label")).to_numpy(zero_copy_only=False))
    given, known = (
        _Pictures.of(table.take(rows)),
        _Pictures.of(reference.filter(pc.is_valid(reference.column("label")))),
    )
    groups = _groups(table.take(rows), labels, settings.min_labels)
    if not groups or not len(known.labels):
        return []
    trusted = np.ones(len(rows), bool)
    found: list[Suspicion] = []

    def suspect(who: str, kind: Kind, which: Mask, reason: str) -> None:
        found.append(Suspicion(who, kind, rows[which], f"{who}: {reason}"))
        trusted[which] = False

    copies = _copies(given)
    for who, own in groups.items():
        mine = own & trusted
        if _too_many(copies[mine], settings.honest_copies, settings.chance / len(groups)):
            few = f"{(copies & mine).sum()} of {mine.sum()} pictures are copies of others with small changes"
            suspect(who, "copies", copies & mine, few)
    against, doubtful = _contradicted(given, known, trusted)
    for who, own in groups.items():
        mine = own & trusted
        if _too_many(against[mine], settings.honest_contradicted, settings.chance / len(groups)):
            part = f"{(against & mine).sum()} of {mine.sum()} labels contradict those of similar digits and the model"
            all_of_it = against[mine].mean() >= settings.all_contradicted
            suspect(who, "contradicted labels", mine if all_of_it else doubtful & mine, part)
    for who, own in groups.items():
        mine = own & trusted
        counts = np.bincount(given.labels[mine], minlength=CLASSES)
        if mine.sum() >= settings.min_labels and counts.max() > settings.max_class_share * mine.sum():
            digit, next_most = int(counts.argmax()), int(np.sort(counts)[-2])
            flood = np.flatnonzero(mine & (given.labels == digit))[next_most:]
            which = np.zeros(len(rows), bool)
            which[flood] = True
            suspect(who, "one class", which, f"{counts.max()} of {mine.sum()} labels are the digit {digit}")
    return found


def rows_of(found: list[Suspicion]) -> Rows:
    """All rows to leave out, each once, in order."""
    return np.unique(np.concatenate([np.zeros(0, np.int64), *(each.rows for each in found)]))


@dataclass(frozen=True)
class _Pictures:
    """Labeled digits as they are compared: ids and labels (n,), features (n, d) of length 1, probabilities (n, 10)."""

    ids: NDArray[np.object_]
    features: Features
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table) -> "_Pictures":
        pictures = np.frombuffer(b"".join(table.column("image").to_pylist()), np.uint8)
        side = (table.column("height")[0].as_py(), table.column("width")[0].as_py()) if table.num_rows else (28, 28)
        probabilities = captured.probabilities_of(table)
        labels = table.column("label").to_numpy().astype(np.int64)
        ids = np.array(table.column("id").to_pylist(), object)
        return cls(ids, _features(pictures.reshape(-1, *side)), labels, probabilities)

    def take(self, rows: Rows) -> "_Pictures":
        return _Pictures(self.ids[rows], self.features[rows], self.labels[rows], self.probabilities[rows])


def _features(pictures: NDArray[np.uint8]) -> Features:
    """Blurred pictures at half the size, so that a pixel more or less is none. pictures: (n, height, width)."""
    parts = [np.zeros((0, (pictures.shape[1] // 2) * (pictures.shape[2] // 2)), np.float32)]
    for start in range(0, len(pictures), PART):
        soft = ndimage.gaussian_filter(pictures[start : start + PART].astype(np.float32), (0, 0.7, 0.7))
        height, width = soft.shape[1] // 2 * 2, soft.shape[2] // 2 * 2
        small = soft[:, :height, :width].reshape(len(soft), height // 2, 2, width // 2, 2).mean((2, 4))
        parts.append(small.reshape(len(soft), -1))
    features = np.concatenate(parts)
    length: Features = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-6), np.float32)


def _groups(table: pa.Table, labels: pa.Table | None, min_labels: int) -> dict[str, Mask]:
    """Who may be suspected, and of which rows: persons first, so that a source is not blamed for one of them."""
    columns = {"writer": table.column("writer"), "source": table.column("source")}
    if labels is not None:
        place = pc.index_in(table.column("prediction_id"), value_set=labels.column("prediction_id"))
        columns = {"labeler": pc.take(labels.column("writer"), place)} | columns
    groups: dict[str, Mask] = {}
    for kind, column in columns.items():
        names = np.array(column.fill_null("").to_pylist(), object)
        for name in sorted(set(names) - {""}):
            if (own := names == name).sum() >= min_labels:
                groups[f"{kind} {name}"] = own
    return groups


def _too_many(marked: Mask, honest: float, chance: float) -> bool:
    """Whether more are marked than an honest one would have: twice as many, and hardly by chance (binomial test)."""
    count, total = int(marked.sum()), len(marked)
    return count > 2 * honest * total and float(binom.sf(count - 1, total, honest)) < chance


def _pool(rows: Rows) -> Rows:
    """Some of the rows, in order, to seek neighbors among."""
    chosen = np.random.default_rng(SEED).permutation(len(rows))[:POOL]
    return rows[np.sort(chosen)]


def _copies(given: _Pictures) -> Mask:
    """Which pictures are the same as one that came before, or nearly the same as one in the pool."""
    pool = _pool(np.arange(len(given.labels)))
    copies = np.ones(len(given.labels), bool)
    copies[np.unique(given.ids, return_index=True)[1]] = False
    for start in range(0, len(copies), PART):
        alike = given.features[start : start + PART] @ given.features[pool].T >= ALIKE
        before = pool[None] < np.arange(start, start + len(alike))[:, None]
        copies[start : start + PART] |= (alike & before).any(1)
    return copies


def _contradicted(given: _Pictures, known: _Pictures, trusted: Mask) -> tuple[Mask, Mask]:
    """Which labels neighbors and champion contradict with one voice, and which are doubtful where there is reason to.

    Two juries are asked: the neighbors among all labeled digits, new and known; and the known alone, about digits so
    near to these that they cannot be of a population new to the champion.
    """
    pool = _pool(np.flatnonzero(trusted))
    reference = known.take(_pool(np.arange(len(known.labels))))
    near = float(np.quantile(_likeness(reference.features, reference.features), 0.75))
    features = np.concatenate([reference.features, given.features[pool]])
    labels = np.concatenate([reference.labels, given.labels[pool]])
    answers, against, doubtful = given.probabilities.argmax(1), *(np.zeros(len(given.labels), bool) for _ in range(2))
    unlikely = given.probabilities[np.arange(len(given.labels)), given.labels] < DOUBTFUL
    # The champion agrees with the other labels, so no neighbor could have one left out.
    accused = np.flatnonzero(trusted & (unlikely | (answers != given.labels)))
    for start in range(0, len(accused), PART):
        rows = accused[start : start + PART]
        likeness = given.features[rows] @ features.T
        likeness[:, len(reference.labels) :][rows[:, None] == pool[None]] = -1  # nobody is a witness in his own cause
        by_known = likeness[:, : len(reference.labels)]
        said, clear = _verdict(by_known, reference.labels, given.labels[rows])
        against[rows] = clear & (said == answers[rows]) & (by_known.max(1) >= near)
        said, clear = _verdict(likeness, labels, given.labels[rows])
        against[rows] |= clear & (said == answers[rows])
        doubtful[rows] = clear & unlikely[rows]
    return against, doubtful | against


def _verdict(likeness: Features, labels: NDArray[np.int64], given: NDArray[np.int64]) -> tuple[NDArray[np.int64], Mask]:
    """What the nearest neighbors say most often but for the given label, and whether they clearly contradict it."""
    count = min(NEIGHBORS, likeness.shape[1])
    nearest = labels[np.argpartition(-likeness, count - 1, axis=1)[:, :count]]
    votes = np.stack([(nearest == digit).sum(1) for digit in range(CLASSES)], 1)
    rows = np.arange(len(given))
    in_favor = votes[rows, given].copy()
    votes[rows, given] = 0
    return votes.argmax(1), (in_favor <= IN_FAVOR) & (votes.max(1) >= AGAINST)


def _likeness(features: Features, others: Features) -> Features:
    """How like each is to the most like of the others, itself left out."""
    likeness = features @ others.T
    np.fill_diagonal(likeness, -1)
    return np.asarray(likeness.max(1))
