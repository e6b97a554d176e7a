"""Signatures: only a model that a trusted key signed is loaded, by a real server too."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from served import Server, crown, wait_until

from infra import bento, challenger, registry, signing
from infra.storage import FolderStore, Store, open_store
from inkloop.errors import UserError
from serving import champion


class Key:
    """A key pair as two PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.private, self.public = folder / f"{name}.pem", folder / f"{name}.pub"
        key = Ed25519PrivateKey.generate()
        self.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture
def ours(tmp_path) -> Key:
    return Key(tmp_path, "ours")


@pytest.fixture
def another(tmp_path) -> Key:
    return Key(tmp_path, "another")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def store(request, tmp_path) -> Store:
    if request.param == "s3":
        return open_store(f"s3://{request.getfixturevalue('s3_bucket')}/some/prefix")
    return open_store(str(tmp_path / "store"))


def publish(store: Store, folder: Path, key: Key | None, monkeypatch) -> str:
    with monkeypatch.context() as patch:
        if key is not None:
            patch.setenv(signing.SIGNING_KEY, str(key.private))
        return registry.publish(store, folder)


def trust(monkeypatch, *keys: Key) -> None:
    monkeypatch.setenv(signing.TRUSTED_KEYS, ":".join(str(key.public) for key in keys))


def test_who_trusts_a_key_loads_what_it_signed_and_nothing_else(store, model_directory, ours, another, monkeypatch):
    digest = publish(store, model_directory, ours, monkeypatch)
    signing.require_trusted(store, digest)  # nobody asks for signatures
    trust(monkeypatch, ours)
    assert champion.load(store, digest).digest == digest
    trust(monkeypatch, another)
    with pytest.raises(UserError, match="not signed by a key of INKLOOP_TRUSTED_KEYS"):
        champion.load(store, digest)
    trust(monkeypatch, another, ours)
    assert champion.load(store, digest).digest == digest


def test_an_unsigned_model_is_refused_before_a_byte_of_it_is_read(store, model_directory, ours, monkeypatch):
    digest = publish(store, model_directory, None, monkeypatch)
    read = []
    get = type(store).get_with_etag
    monkeypatch.setattr(type(store), "get_with_etag", lambda self, key: read.append(key) or get(self, key))
    trust(monkeypatch, ours)
    with pytest.raises(UserError, match="not signed"):
        champion.load(store, digest)
    assert not [key for key in read if key.startswith("models/")]


def test_a_model_published_before_may_be_signed_later_and_by_several(
    store, model_directory, ours, another, monkeypatch
):
    digest = publish(store, model_directory, None, monkeypatch)
    for key in (ours, another):
        assert publish(store, model_directory, key, monkeypatch) == digest
    for key in (ours, another):
        trust(monkeypatch, key)
        signing.require_trusted(store, digest)
    assert len(signing.signatures(store, digest)) == 2


def test_the_signature_of_one_model_does_not_pass_for_another(
    store, model_directory, other_model_directory, ours, monkeypatch
):
    signed = publish(store, model_directory, ours, monkeypatch)
    unsigned = publish(store, other_model_directory, None, monkeypatch)
    for key, signature in signing.signatures(store, signed).items():
        store.put(key.replace(signed, unsigned), signature)
    trust(monkeypatch, ours)
    with pytest.raises(UserError, match="not signed"):
        champion.load(store, unsigned)


def test_an_unsigned_challenger_is_refused(store, publish_both, second, ours, monkeypatch):
    publish_both(store)
    trust(monkeypatch, ours)
    with pytest.raises(UserError, match="not signed"):
        challenger.challenge(store, second.digest, canary=0.5, by="ada")
    assert challenger.challenger(store) is None


def test_keys_that_are_none_are_named(tmp_path, model_directory, ours, monkeypatch):
    store = FolderStore(tmp_path / "store")
    rsa = tmp_path / "rsa.pem"
    key = generate_private_key(65537, 2048)
    rsa.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    words = tmp_path / "words.pem"
    words.write_text("no key")
    for path, says in [
        ("ours.pem", "absolute path"),
        (str(tmp_path / "nowhere.pem"), "cannot be read"),
        (str(words), "cannot be read"),
        (str(rsa), "not an Ed25519 key"),
        (str(ours.public), "cannot be read"),
    ]:
        monkeypatch.setenv(signing.SIGNING_KEY, path)
        with pytest.raises(UserError, match=says):
            registry.publish(store, model_directory)
        monkeypatch.setenv(signing.TRUSTED_KEYS, path.replace("ours.pub", "ours.pem"))
        with pytest.raises(UserError, match=r"absolute path|cannot be read|not an Ed25519"):
            signing.require_trusted(store, "0" * 64)


def test_a_bento_carries_the_signatures_of_its_model(model_directory, ours, another, tmp_path, monkeypatch):
    store, built = FolderStore(tmp_path / "store"), tmp_path / "bento"
    digest = publish(store, model_directory, ours, monkeypatch)
    bento.build(model_directory, "inkloop", "1", "", {}, signing.signatures(store, digest), built)
    trust(monkeypatch, ours)
    assert champion.load_bundled(built / "src" / "model").digest == digest
    trust(monkeypatch, another)
    with pytest.raises(UserError, match="not signed"):
        champion.load_bundled(built / "src" / "model")


def test_a_server_goes_on_with_the_signed_champion_until_the_next_is_signed_too(
    model_directory, other_model_directory, first, second, ours, tmp_path, monkeypatch
):
    store = FolderStore(tmp_path / "store")
    crown(store, publish(store, model_directory, ours, monkeypatch))
    trust(monkeypatch, ours)
    with Server(str(store), tmp_path / "log") as server:
        crown(store, publish(store, other_model_directory, None, monkeypatch))
        wait_until(lambda: server.metric('inkloop_model_reload_failures_total{of="champion"}') >= 1, 5)
        assert server.version() == first.version
        publish(store, other_model_directory, ours, monkeypatch)
        wait_until(lambda: server.version() == second.version, 10)
    assert "not signed by a key" in server.log


def test_serving_an_untrusted_champion_is_refused_in_one_sentence(model_directory, ours, tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "store")
    crown(store, publish(store, model_directory, None, monkeypatch))
    trust(monkeypatch, ours)
    command = [sys.executable, "-m", "pipeline", "serve", "--store", str(store)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "not signed by a key of INKLOOP_TRUSTED_KEYS" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
