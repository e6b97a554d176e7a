"""What a person wrote can be found by a key and forgotten for good; what is old goes by itself."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from recorded import answers, label_of, stored, write_segment

from infra import captured, persons, privacy
from infra.storage import Store, open_store
from serving.capture import FOLDER_VARIABLE
from serving.segments import waiting
from serving.shipping import expire, forget, ship

ANNA, BEN = "anna@example.org", "ben@example.org"


def known_as(store: Store, person: str) -> bytes:
    return persons.pseudonym(persons.secret(store), person)


def writers(store: Store) -> set[str | None]:
    return set(stored(store).column("writer").to_pylist())


def everything(store: Store) -> bytes:
    """All that was captured, uncompressed enough to be searched for a pseudonym."""
    tables = [captured.from_parquet(store.get(key)) for kind in captured.SCHEMAS for key in captured.keys(store, kind)]
    return "\n".join(str(table.to_pydict()) for table in tables).encode()


def test_the_secret_is_made_once_and_pseudonyms_differ_between_stores(store, tmp_path):
    assert persons.secret(store) == persons.secret(store)
    assert known_as(store, ANNA) != known_as(open_store(str(tmp_path / "other")), ANNA)


def test_a_forgotten_persons_digits_and_labels_are_gone_and_nobody_elses(test_digits, folder, store):
    anna, ben = known_as(store, ANNA), known_as(store, BEN)
    hers, his = answers(test_digits, 30, anna), answers(test_digits, 20, ben)
    write_segment(folder, [*hers, *his])
    ship(folder, store)
    write_segment(folder, [label_of(hers[0], 1, ben), label_of(his[0], 2, anna), label_of(his[1], 3, ben)])
    ship(folder, store)
    assert forget(folder, store, ANNA) == 30 + 2
    assert writers(store) == {ben.hex()}
    assert stored(store).column("label").to_pylist()[:2] == [None, 3]
    assert anna.hex().encode() not in everything(store)
    assert persons.forgotten(store).rows_removed == 32
    assert forget(folder, store, ANNA) == 0
    assert stored(store).num_rows == 20


def test_what_waits_on_this_machine_is_forgotten_too(test_digits, folder, store):
    write_segment(folder, answers(test_digits, 5, known_as(store, ANNA)))
    (folder / "broken.damaged").write_bytes(b"perhaps hers")
    forget(folder, store, ANNA)
    assert list(folder.iterdir()) == []
    assert stored(store).num_rows == 0


def test_segments_of_other_servers_do_not_bring_a_forgotten_person_back(test_digits, folder, store, tmp_path):
    write_segment(tmp_path / "elsewhere", answers(test_digits, 5, known_as(store, ANNA)))
    forget(folder, store, ANNA)
    ship(tmp_path / "elsewhere", store)
    assert stored(store).num_rows == 0
    assert store.list("captured") == []


def test_who_comes_back_after_being_forgotten_is_kept_again(test_digits, folder, store):
    forget(folder, store, ANNA)
    tomorrow = datetime.now(UTC) + timedelta(hours=2)
    write_segment(folder, answers(test_digits, 5, known_as(store, ANNA), seen_at=tomorrow))
    ship(folder, store)
    assert stored(store).num_rows == 5


def test_forgetting_beside_a_running_shipper_leaves_nothing_of_the_person(test_digits, folder, store, tmp_path):
    anna, elsewhere = known_as(store, ANNA), tmp_path / "elsewhere"
    for _ in range(12):
        write_segment(elsewhere, [*answers(test_digits, 3, anna), *answers(test_digits, 2, known_as(store, BEN))])
    shipper = threading.Thread(target=ship, args=(elsewhere, store))
    shipper.start()
    while not store.list("captured"):
        pass
    forget(folder, store, ANNA)
    shipper.join()
    assert waiting(elsewhere) == []
    assert stored(store).num_rows == 24
    assert anna.hex().encode() not in everything(store)


def test_two_persons_forgotten_at_once_are_both_forgotten(test_digits, folder, store):
    for person in (ANNA, BEN):
        write_segment(folder, answers(test_digits, 10, known_as(store, person)))
    write_segment(
        folder, [each for person in (ANNA, BEN) for each in answers(test_digits, 10, known_as(store, person))]
    )
    ship(folder, store)
    both = [threading.Thread(target=forget, args=(folder, store, person)) for person in (ANNA, BEN)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert stored(store).num_rows == 0
    assert len(persons.forgotten(store).until) == 2
    assert persons.forgotten(store).rows_removed == 40


def test_what_is_older_than_asked_is_deleted_and_nothing_else(test_digits, folder, store):
    now = datetime.now(UTC)
    for age in (timedelta(days=31), timedelta(days=29), timedelta(0)):
        records = answers(test_digits, 3, seen_at=now - age)
        write_segment(folder, [*records, label_of(records[0], 5)])
    ship(folder, store)
    assert expire(folder, store, timedelta(days=30)) == 2
    assert stored(store).num_rows == 6
    assert expire(folder, store, timedelta(days=30)) == 0


def test_pseudonyms_to_leave_out_are_dropped_once_nothing_of_them_can_come(store):
    long_ago, now = datetime.now(UTC) - timedelta(days=100), datetime.now(UTC) - timedelta(days=40)
    persons.suppress(store, "aa", long_ago)
    persons.suppress(store, "bb", now)
    privacy.expire(store, timedelta(days=30))
    assert set(persons.forgotten(store).until) == {"bb"}


@pytest.mark.parametrize("command", ["forget", "expire"])
def test_both_are_commands(command, test_digits, folder, tmp_path):
    store = open_store(str(tmp_path / "store"))
    old = datetime.now(UTC) - timedelta(days=400)
    write_segment(folder, answers(test_digits, 5, known_as(store, ANNA), seen_at=old))
    ship(folder, store)
    arguments = [ANNA] if command == "forget" else ["--days", "365"]
    run = [sys.executable, "-m", "pipeline", command, *arguments, "--store", str(store)]
    done = subprocess.run(
        run, capture_output=True, text=True, check=True, env={**os.environ, FOLDER_VARIABLE: str(folder)}
    )
    assert done.stdout.startswith("5 captured" if command == "forget" else "1 objects")
    assert ANNA not in done.stdout
    assert stored(store).num_rows == 0


def test_nobody_cannot_be_forgotten(tmp_path):
    run = [sys.executable, "-m", "pipeline", "forget", "", "--store", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no person named" in done.stderr
