"""Signatures: who published a model, by Ed25519 over its digest, checked before a byte of the model is loaded."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from infra.storage import Missing, Store
from inkloop.errors import UserError

SIGNING_KEY = "INKLOOP_SIGNING_KEY"  # path of a PEM private key: what is published is signed with it
# Paths of PEM public keys, joined as in PATH: only what one of them signed is served.
TRUSTED_KEYS = "INKLOOP_TRUSTED_KEYS"


def sign(store: Store, digest: str) -> None:
    """Put the signature of the key of INKLOOP_SIGNING_KEY beside the model; nothing without that variable.

    Raises UserError if the key is unusable.
    """
    if path := os.environ.get(SIGNING_KEY):
        key = _read(SIGNING_KEY, path, lambda pem: load_pem_private_key(pem, None))
        if not isinstance(key, Ed25519PrivateKey):
            raise _other_kind(SIGNING_KEY, path)
        store.put(_place(digest, key.public_key()), key.sign(_message(digest)))


def signatures(store: Store, digest: str) -> dict[str, bytes]:
    """All signatures of a model, by the keys under which they stand in any store."""
    return {key: store.get(key) for key in store.list(f"signatures/{digest}/")}


def require_trusted(store: Store, digest: str) -> None:
    """Pass if a key of INKLOOP_TRUSTED_KEYS signed the model, or if that variable is not set.

    store: where the signatures stand. Raises UserError if none did, or if a key is unusable.
    """
    paths = os.environ.get(TRUSTED_KEYS)
    if not paths:
        return
    for path in paths.split(os.pathsep):
        key = _read(TRUSTED_KEYS, path, load_pem_public_key)
        if not isinstance(key, Ed25519PublicKey):
            raise _other_kind(TRUSTED_KEYS, path)
        try:
            key.verify(store.get(_place(digest, key)), _message(digest))
            return
        except (Missing, InvalidSignature):
            continue
    raise UserError(
        f"model {digest[:12]}: not signed by a key of {TRUSTED_KEYS}, so it is not loaded. "
        f"Publish it with {SIGNING_KEY}, or trust the key that signed it."
    )


def _place(digest: str, key: Ed25519PublicKey) -> str:
    # A place for each key: who signs a model too cannot take another's signature away.
    return f"signatures/{digest}/{hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]}"


def _message(digest: str) -> bytes:
    # Says what it is, so that the same key's signature of anything else never passes for one of a model.
    return f"inkloop model {digest}".encode()


def _read(variable: str, path: str, load: Callable[[bytes], object]) -> object:
    if not Path(path).is_absolute():
        raise UserError(f"{variable} {path}: give the absolute path; steps and servers work in folders of their own.")
    try:
        return load(Path(path).read_bytes())
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(
            f"{variable} {path}: cannot be read ({error}). Give a PEM file without a passphrase."
        ) from error


def _other_kind(variable: str, path: str) -> UserError:
    return UserError(f"{variable} {path}: not an Ed25519 key. Make one by `openssl genpkey -algorithm ed25519`.")
