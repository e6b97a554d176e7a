"""API keys: made once, kept as hashes, asked for where something may be changed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.requests import Request

from infra import api_keys
from infra.storage import FolderStore
from inkloop.errors import UserError
from serving import keys
from serving.keys import Keys
from serving.problems import Problem

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def request_from(host: str, authorization: str | None = None, asks_for: str = "127.0.0.1:3000") -> Request:
    headers = [(b"host", asks_for.encode())]
    headers += [(b"authorization", authorization.encode())] if authorization is not None else []
    return Request({"type": "http", "client": (host, 1), "headers": headers})


def asked(store: FolderStore, *words: str) -> str:
    """What `python -m pipeline keys` says to these words."""
    command = [sys.executable, "-m", "pipeline", "keys", *words, "--store", str(store.root)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_key_is_for_corrections_unless_it_is_made_an_operators(store: FolderStore):
    bobs, adas = asked(store, "add", "bob").strip(), asked(store, "add", "ada", "--operator").strip()
    known = api_keys.keys(store)
    assert [(each.name, each.operator) for each in known] == [("bob", False), ("ada", True)]
    assert [api_keys.find(known, key) for key in (bobs, f" {adas} ", "guess")] == [known[0], known[1], None]
    today = f"{known[0].since:%Y-%m-%d}"
    assert asked(store, "list").splitlines() == [f"bob  {today}  corrections", f"ada  {today}  operator"]


def test_a_key_made_before_there_were_two_kinds_is_for_corrections(store: FolderStore):
    key = api_keys.add(store, "ada")
    kept = json.loads(store.get(api_keys.PLACE))
    before = [{name: value for name, value in each.items() if name != "operator"} for each in kept]
    store.put(api_keys.PLACE, json.dumps(before).encode())
    found = api_keys.find(api_keys.keys(store), key)
    assert found is not None
    assert (found.name, found.operator) == ("ada", False)


def test_a_key_is_kept_as_a_hash_alone(store: FolderStore, tmp_path: Path):
    key = api_keys.add(store, "ada")
    assert len(key) >= 40
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.encode() not in kept
    assert [each.name for each in api_keys.keys(store)] == ["ada"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ada", "Choose another, or run `.venv/bin/python -m pipeline keys remove ada` first"),
        ("", "say whose"),
        ("  ", "say whose"),
    ],
)
def test_a_name_that_has_a_key_or_is_none_gets_no_other(store: FolderStore, name: str, said: str):
    api_keys.add(store, "ada")
    with pytest.raises(UserError, match=said):
        api_keys.add(store, name)


def test_who_is_unknown_cannot_be_removed(store: FolderStore):
    api_keys.add(store, "ada")
    with pytest.raises(UserError, match=r"'bob': there is none\. There are: ada"):
        api_keys.remove(store, "bob")


@pytest.mark.parametrize("operator", [True, False])
@pytest.mark.parametrize("written", ["Bearer {}", "bearer {}", "Bearer  {} "])
async def test_the_owner_of_a_key_is_known_by_it_from_anywhere(store: FolderStore, written: str, operator: bool):
    key = api_keys.add(store, "ada", operator)
    api_keys.add(store, "bob")
    assert await Keys(str(store.root)).owner(request_from("203.0.113.7", written.format(key))) == "ada"


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic YTpi", "Bearer \udcff"])
async def test_without_a_key_that_holds_nothing_is_changed(store: FolderStore, authorization: str | None):
    api_keys.add(store, "ada")
    sent = None if authorization is None else authorization.encode(errors="surrogateescape").decode("latin-1")
    for host in ("203.0.113.7", "127.0.0.1"):
        with pytest.raises(Problem) as refused:
            await Keys(str(store.root)).owner(request_from(host, sent))
        assert refused.value.status == 401
        assert refused.value.headers == {"www-authenticate": "Bearer"}


async def test_where_there_are_no_keys_only_this_machine_may_change_something(store: FolderStore):
    assert await Keys(str(store.root)).owner(request_from("127.0.0.1")) == "local"
    assert await Keys(None).owner(request_from("::1")) == "local"
    with pytest.raises(Problem):
        await Keys(str(store.root)).owner(request_from("203.0.113.7"))


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:3000", "127.0.0.1", "[::1]:3000"])
async def test_this_machine_is_asked_for_by_a_name_of_its_own(name: str):
    assert await Keys(None).owner(request_from("127.0.0.1", asks_for=name)) == "local"


@pytest.mark.parametrize("name", ["evil.example:3000", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", ""])
async def test_a_web_page_whose_name_was_made_to_lead_here_changes_nothing(name: str):
    with pytest.raises(Problem) as refused:
        await Keys(None).owner(request_from("127.0.0.1", asks_for=name))
    assert refused.value.status == 401


async def test_a_removed_key_soon_holds_no_longer(store: FolderStore, monkeypatch: pytest.MonkeyPatch):
    key = api_keys.add(store, "ada")
    known = Keys(str(store.root))
    assert await known.owner(request_from("203.0.113.7", f"Bearer {key}")) == "ada"
    api_keys.remove(store, "ada")
    monkeypatch.setattr(keys, "FRESH_S", 0.0)
    with pytest.raises(Problem):
        await known.owner(request_from("203.0.113.7", f"Bearer {key}"))


async def test_a_store_that_cannot_be_reached_is_no_reason_to_let_anyone_in():
    nowhere = "s3://nowhere-at-all/prefix"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        environment.setenv("AWS_ACCESS_KEY_ID", "x")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "x")
        with pytest.raises(Problem) as refused:
            await Keys(nowhere).owner(request_from("127.0.0.1"))
    assert refused.value.status == 503
