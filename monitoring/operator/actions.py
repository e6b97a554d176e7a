"""What an operator may do, giving a reason: ask for a retraining, promote a published model, roll the champion back."""

from datetime import UTC, datetime

from infra import challenger, registry, signing
from infra.storage import Store
from inkloop.errors import UserError
from monitoring import requests

LONGEST_REASON = 500  # characters


def retrain(store: Store, by: str, why: str) -> None:
    """Leave a request that the watch takes up. Raises UserError without a reason."""
    requests.ask(store, by, _reason(why), datetime.now(UTC))


def promote(store: Store, by: str, why: str, version: str, expected: str) -> None:
    """Make a published model the champion; a challenger that won is tried no longer.

    expected: the champion's digest as the operator saw it, empty where there was none. Raises UserError without a
    reason, for a model that is not published, not for serving, not trusted or barred; Conflict if the champion is
    another by now.
    """
    decision = {"promoted": True, "reason": _reason(why), "by": by}
    digest = registry.resolve(store, version)
    if digest == expected:
        raise UserError(f"Model {registry.version_of(digest)} is the champion already, so nothing was done.")
    registry.require_served(store, digest)
    signing.require_trusted(store, digest)
    registry.promote(store, digest, decision, expected or None)
    tried = challenger.challenger(store)
    if tried is not None and tried.digest == digest:
        challenger.withdraw(store)


def roll_back(store: Store, by: str, why: str, expected: str) -> None:
    """Put the champion before back. expected: see `promote`.

    Raises UserError without a reason or an earlier champion, Conflict if the champion is another by now.
    """
    reason = _reason(why)
    registry.rollback(store, reason, by, expected)


def _reason(why: str) -> str:
    """The reason in one line."""
    reason = " ".join(why.split())
    if not reason:
        raise UserError("No reason was given, so nothing was done. Say why; it is kept.")
    if len(reason) > LONGEST_REASON:
        raise UserError(f"A reason of {len(reason)} characters is too long. Say it in {LONGEST_REASON}.")
    return reason
