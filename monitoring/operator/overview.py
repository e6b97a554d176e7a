"""What the operators' page shows, read from the store at one moment."""

from dataclasses import dataclass
from datetime import datetime

from infra import challenger, lease, registry, runs
from infra.challenger import Challenger
from infra.lease import Lease
from infra.registry import Champion
from infra.runs import Run
from infra.storage import Missing, Store
from monitoring import decisions, requests, retrainings
from monitoring.operator import versions
from monitoring.operator.versions import Version
from monitoring.requests import Request
from monitoring.retrainings import Retraining
from monitoring.state import Drift, Point, State
from monitoring.triggers import Decision
from monitoring.watch import STATE

SHOWN_RUNS = 8
SHOWN_RETRAININGS = 12
SHOWN_DECISIONS = 12
SHOWN_ANSWERED = 3
SEARCHED_RUNS = 40  # for the figures of the versions


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
        latest = self.state.decision or (self.decisions[0] if self.decisions else None)
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
    return Overview(
        now=now,
        store=str(store),
        champion=champion,
        champions=champions,
        challenger=tried,
        versions=versions.versions(store, champions, tried, ran),
        restored=versions.restored(champions),
        decisions=decisions.history(store, SHOWN_DECISIONS)[::-1],
        runs=ran[: -SHOWN_RUNS - 1 : -1],
        retrainings=retrainings.history(store, SHOWN_RETRAININGS)[::-1],
        requests=requests.pending(store),
        answered=requests.answered(store, SHOWN_ANSWERED)[::-1],
        watch=lease.holder(store, decisions.WATCH_LEASE, now),
        running=lease.holder(store, decisions.LEASE, now),
        state=_state(store),
    )


def _state(store: Store) -> State:
    try:
        return State.model_validate_json(store.get(STATE))
    except Missing:
        return State()
