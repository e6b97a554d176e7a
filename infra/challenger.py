"""The challenger: a model tried on real requests, beside the champion (shadow) or for a share of them (canary)."""

from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import model_validator

from infra import registry, signing
from infra.storage import Missing, Store
from inkloop.errors import UserError
from inkloop.settings import Settings, Share

CHALLENGER = "registry/challenger.json"

Mode = Literal["shadow", "canary"]


class Challenger(Settings):
    """Which model is tried, how, since when (UTC) and by whom."""

    digest: str
    mode: Mode  # shadow: its answers are only compared with the champion's; canary: it answers a share of the requests
    share: Share  # 0..1, of those who ask: which of them meet the challenger
    since: datetime
    by: str

    @property
    def version(self) -> str:
        """The start of the digest, as answers carry it."""
        return registry.version_of(self.digest)

    @model_validator(mode="after")
    def _answers_nobody_from_the_shadow(self) -> Self:
        if (self.mode == "canary") != (self.share > 0):
            raise ValueError("a canary needs a share above 0, a shadow answers nobody")
        return self


def challenger(store: Store) -> Challenger | None:
    """The challenger now, None if none is tried."""
    try:
        return Challenger.model_validate_json(store.get(CHALLENGER))
    except Missing:
        return None


def challenge(store: Store, digest: str, canary: float | None, by: str) -> Challenger:
    """Try a published model, in place of the challenger before. canary: its share, above 0 to 1; None: in the shadow.

    Raises UserError if it is the champion, was rolled back, is signed by nobody trusted, or the share is none.
    """
    if canary is not None and not 0 < canary <= 1:
        raise UserError(f"canary {canary:g}: not a share. Give one above 0 and up to 1, such as 0.05.")
    champion = registry.reigning(store)
    if champion.digest == digest:
        raise UserError(f"model {champion.version} is the champion; challenge it with another.")
    registry.require_served(store, digest)
    if (barred := champion.bars(digest)) is not None:
        raise UserError(f"model {registry.version_of(digest)} {barred}. Readmit it first, or try another.")
    signing.require_trusted(store, digest)
    mode: Mode = "shadow" if canary is None else "canary"
    chosen = Challenger(digest=digest, mode=mode, share=canary or 0.0, since=datetime.now(UTC), by=by)
    store.put(CHALLENGER, chosen.model_dump_json(indent=2).encode())
    return chosen


def withdraw(store: Store) -> None:
    """Try no challenger any longer; withdrawing twice is withdrawing once."""
    store.delete(CHALLENGER)
