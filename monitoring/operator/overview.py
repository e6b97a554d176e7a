"""What the operators' page shows, read from the store at one moment."""

from dataclasses import dataclass
from datetime import datetime

from infra import challenger, lease, registry, runs
from infra.challenger import Challenger
from infra.lease import Lease
from infra.registry import Champion
from infra.runs import Run
from infra.storage import MANIFEST, Missing, Store
from monitoring import decisions, requests, retrainings
from monitoring.requests import Request
from monitoring.retrainings import Retraining
from monitoring.state import Drift, Point, State
from monitoring.triggers import Decision
from monitoring.watch import STATE

WATCH_LEASE = "loop/watch-lease.json"
SHOWN_RUNS = 8
SHOWN_RETRAININGS = 12
SHOWN_DECISIONS = 12
SHOWN_ANSWERED = 3
SEARCHED_RUNS = 40  # for the figures of the versions


@dataclass(frozen=True)
class Version:
    """A published model: what it is now, since when (UTC), who decided so and why."""

    digest: str
    standing: str  # champion, challenger, rolled back, champion before, or published
    since: datetime | None = None
    by: str = ""
    why: str = ""
    run: Run | None = None  # that made it

    @property
    def version(self) -> str:
        """The start of the digest, as answers carry it."""
        return registry.version_of(self.digest)

    @property
    def may_be_promoted(self) -> bool:
        """Whether a button for it makes sense."""
        return self.standing not in ("champion", "rolled back")


@dataclass(frozen=True)
class Overview:
    """All that the page shows, the newest of everything first. Times are UTC."""

    now: datetime
    store: str
    champion: Champion | None
    champions: list[Champion]  # oldest first
    challenger: Challenger | None
    versions: list[Version]
    restored: str | None  # the version that a rollback would bring back, None if there is none
    decisions: list[Decision]
    runs: list[Run]
    retrainings: list[Retraining]
    requests: list[Request]  # that wait, oldest first
    answered: list[tuple[Request, str]]  # that wait no longer, and what became of each
    watch: Lease | None  # who watches
    running: Lease | None  # who retrains
    state: State

    @property
    def decision(self) -> Decision | None:
        """The latest decision, if it is about the champion."""
        latest = self.decisions[0] if self.decisions else None
        return latest if latest and self.champion and latest.signals.model_version == self.champion.version else None

    @property
    def point(self) -> Point | None:
        """What was seen of the champion when last looked."""
        last = self.state.points[-1] if self.state.points else None
        return last if last and self.champion and last.version == self.champion.version else None

    @property
    def drifts(self) -> tuple[Drift, ...]:
        """The alarms about the champion, oldest first."""
        return self.state.drifts if self.champion and self.state.champion == self.champion.digest else ()

    @property
    def promotable(self) -> list[Version]:
        """What may become champion, the challenger first."""
        return [each for each in self.versions if each.may_be_promoted]

    @property
    def promised(self) -> float | None:
        """The champion's accuracy on its reference, 0..1, once a decision has looked at it."""
        return self.decision.signals.promised if self.decision else None


def look(store: Store, now: datetime) -> Overview:
    """Read the store. Raises UserError if it is away, ValueError if it holds something that cannot be read."""
    champions = registry.history(store)
    champion = champions[-1] if champions else None
    tried = challenger.challenger(store)
    ran = runs.history(store, SEARCHED_RUNS)
    versions = _versions(_published(store), champions, tried, ran)
    return Overview(
        now=now,
        store=str(store),
        champion=champion,
        champions=champions,
        challenger=tried,
        versions=versions,
        restored=_restored(champions),
        decisions=decisions.history(store, SHOWN_DECISIONS)[::-1],
        runs=ran[: -SHOWN_RUNS - 1 : -1],
        retrainings=retrainings.history(store, SHOWN_RETRAININGS)[::-1],
        requests=requests.pending(store),
        answered=requests.answered(store, SHOWN_ANSWERED)[::-1],
        watch=lease.holder(store, WATCH_LEASE, now),
        running=lease.holder(store, decisions.LEASE, now),
        state=_state(store),
    )


def _published(store: Store) -> list[str]:
    """The digests of the models that were uploaded whole."""
    return [key.split("/")[1] for key in store.list("models/") if key.endswith(f"/{MANIFEST}")]


def _versions(digests: list[str], champions: list[Champion], tried: Challenger | None, ran: list[Run]) -> list[Version]:
    """The champion, the challenger, then the others, the latest first; those of which nothing is known last."""
    made_by = {run.challenger: run for run in ran}
    found = [_version(digest, champions, tried, made_by.get(digest)) for digest in digests]
    order = {"champion": 0, "challenger": 1}
    known, unknown = [each for each in found if each.since], [each for each in found if not each.since]
    known.sort(key=lambda each: (-order.get(each.standing, 2), each.since), reverse=True)
    return [*known, *unknown]


def _version(digest: str, champions: list[Champion], tried: Challenger | None, run: Run | None) -> Version:
    champion = champions[-1] if champions else None
    reigned = next((past for past in reversed(champions) if past.digest == digest), None)
    barred = next((each for each in (champion.rolled_back if champion else ()) if each.digest == digest), None)
    if champion is not None and champion.digest == digest:
        return Version(digest, "champion", champion.since, *_decided(champion), run)
    if barred is not None:
        return Version(digest, "rolled back", barred.since, barred.by, barred.reason, run)
    if tried is not None and tried.digest == digest:
        how = "in the shadow" if tried.mode == "shadow" else f"by {tried.share:.3g} of those who ask"
        return Version(digest, "challenger", tried.since, tried.by, f"tried {how}", run)
    if reigned is not None:
        return Version(digest, "champion before", reigned.since, *_decided(reigned), run)
    return Version(digest, "published", run.started if run else None, "", run.verdict if run else "", run)


def _decided(champion: Champion) -> tuple[str, str]:
    """By whom and why it became champion. What a decision holds comes from elsewhere: it may hold neither."""
    why = str(champion.decision.get("reason", ""))
    taken_back = champion.decision.get("rolled_back")
    if isinstance(taken_back, str):
        why = f"{registry.version_of(taken_back)} was rolled back: {why}"
    return str(champion.decision.get("by", "")), why


def _restored(champions: list[Champion]) -> str | None:
    """The version that `registry.rollback` would bring back."""
    if not champions:
        return None
    now = champions[-1]
    barred = {now.digest, *(each.digest for each in now.rolled_back)}
    return next((past.version for past in reversed(champions) if past.digest not in barred), None)


def _state(store: Store) -> State:
    try:
        return State.model_validate_json(store.get(STATE))
    except Missing:
        return State()
