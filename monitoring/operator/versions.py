"""The versions that the store holds: what each is now, since when, by whose decision and why."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from infra import registry
from infra.challenger import Challenger
from infra.registry import Champion
from infra.runs import Run
from infra.storage import MANIFEST, Store


@dataclass(frozen=True)
class Version:
    """A published model: what it is now, since when (UTC), who decided so and why."""

    digest: str
    standing: str  # champion, challenger, rolled back, champion before, published; or what else it is: a teacher
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
        return self.standing in ("challenger", "champion before", "published")


def versions(store: Store, champions: list[Champion], tried: Challenger | None, ran: list[Run]) -> list[Version]:
    """The champion, the challenger, then the others, the latest first; those of which nothing is known last."""
    made_by = {run.challenger: run for run in ran}
    found = [_version(store, digest, champions, tried, made_by.get(digest)) for digest in _digests(store)]
    order = {"champion": 0, "challenger": 1}
    known, unknown = [each for each in found if each.since], [each for each in found if not each.since]
    known.sort(key=lambda each: (-order.get(each.standing, 2), each.since), reverse=True)
    return [*known, *unknown]


def restored(champions: list[Champion]) -> str | None:
    """The version that `registry.rollback` would bring back."""
    if not champions:
        return None
    now = champions[-1]
    barred = {now.digest, *(each.digest for each in now.rolled_back)}
    return next((past.version for past in reversed(champions) if past.digest not in barred), None)


def _version(
    store: Store, digest: str, champions: list[Champion], tried: Challenger | None, run: Run | None
) -> Version:
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
    if run is not None:
        return Version(digest, "published", run.started + timedelta(seconds=run.wall_s), "", run.verdict, run)
    what = registry.kind_of(store, digest)
    return Version(digest, "published" if what in registry.SERVED else what)


def _decided(champion: Champion) -> tuple[str, str]:
    """By whom and why it became champion. What a decision holds comes from elsewhere: it may hold neither."""
    why = str(champion.decision.get("reason", ""))
    taken_back = champion.decision.get("rolled_back")
    if isinstance(taken_back, str):
        why = f"{registry.version_of(taken_back)} was rolled back: {why}"
    return str(champion.decision.get("by", "")), why


def _digests(store: Store) -> list[str]:
    """Of the models that were uploaded whole."""
    return [key.split("/")[1] for key in store.list("models/") if key.endswith(f"/{MANIFEST}")]
