"""Segments become Parquet in the store, each record once, whatever fails on the way; and come back as training data."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from recorded import VERSION, answer, answers, label_of, made, stored, write_segment

from infra import captured
from infra.storage import FolderStore, Store, open_store
from inkloop import digits
from inkloop.errors import UserError
from serving import shipping
from serving.capture import CaptureSettings
from serving.records import encode, id_text
from serving.segments import Segment, waiting
from serving.shipper import Shipper, start
from serving.shipping import ship, to_table

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def ids(records) -> list[str]:
    return [id_text(record.prediction_id) for record in records]


def test_answers_come_back_as_digits_with_what_the_model_said(test_digits, folder, store):
    records = answers(test_digits, 300)
    write_segment(folder, records)
    assert ship(folder, store) == 1
    table = stored(store)
    assert waiting(folder) == []
    assert table.schema == captured.SCHEMA
    assert table.column("prediction_id").to_pylist() == ids(records)
    assert table.column("id").to_pylist() == list(test_digits.ids[:300])
    assert table.column("answer").to_pylist() == test_digits.labels[:300].tolist()
    assert table.column("probabilities").to_pylist()[0] == pytest.approx(records[0].probabilities.tolist())
    assert set(table.column("model_version").to_pylist()) == {VERSION}
    assert table.column("label").null_count == 300


def test_labeled_answers_are_training_data_without_conversion(test_digits, folder, store, tmp_path):
    records = answers(test_digits, 100)
    write_segment(folder, [*records, *(label_of(record, record.label) for record in records)])
    ship(folder, store)
    digits.write(stored(store), tmp_path / "digits")
    learned_from = digits.read(tmp_path / "digits")
    assert (learned_from.images == test_digits.images[:100]).all()
    assert (learned_from.labels == test_digits.labels[:100]).all()


def test_the_latest_label_counts_even_from_a_later_hour(test_digits, folder, store):
    first, second = answers(test_digits, 2, seen_at=NOON)
    write_segment(folder, [first, second, label_of(first, 3)])
    ship(folder, store)
    write_segment(folder, [label_of(first, 5, later_s=3 * 3600), label_of(first, 4, later_s=2 * 3600)])
    ship(folder, store)
    assert stored(store).column("label").to_pylist() == [5, None]


def test_rows_lie_by_the_hour_they_were_seen_in(test_digits, folder, store):
    early, late = answer(test_digits.images[0], 7, seen_at=NOON), answer(test_digits.images[1], 2, seen_at=NOON)
    late = late._replace(seen_at=late.seen_at + 3_600_000_000)
    name = write_segment(folder, [early, late]).stem
    ship(folder, store)
    assert captured.keys(store, captured.ANSWERS) == [
        f"captured/date=2026-11-25/hour=12/{name}.parquet",
        f"captured/date=2026-11-25/hour=13/{name}.parquet",
    ]
    found = captured.read(store, NOON + timedelta(hours=1), NOON + timedelta(hours=2))
    assert found.column("prediction_id").to_pylist() == ids([late])
    assert captured.read(store, NOON, NOON).num_rows == 0


def test_a_segment_shipped_twice_is_there_once(test_digits, folder, store):
    path = write_segment(folder, answers(test_digits, 50))
    content = path.read_bytes()
    ship(folder, store)
    once = {key: store.get(key) for key in store.list("captured")}
    path.write_bytes(content)  # as if the shipper had been killed before it could remove it
    ship(folder, store)
    assert {key: store.get(key) for key in store.list("captured")} == once


def test_a_prediction_that_two_segments_hold_counts_once(test_digits, folder, store):
    records = answers(test_digits, 20)
    write_segment(folder, records)
    write_segment(folder, records[10:])
    ship(folder, store)
    assert stored(store).column("prediction_id").to_pylist() == ids(records)


def test_a_segment_that_is_still_written_is_left_alone(test_digits, folder, store):
    segment = Segment(folder)
    segment.append([encode(record) for record in answers(test_digits, 5)])
    assert ship(folder, store) == 0
    segment.seal()
    assert ship(folder, store) == 1
    assert stored(store).num_rows == 5


def test_a_damaged_segment_is_shipped_as_far_as_it_can_be_read_reported_and_kept(
    test_digits, folder, store, caplog, monkeypatch
):
    records = answers(test_digits, 10)
    path = write_segment(folder, records)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(shipping.log, "disabled", False)  # libraries that set up logging disable what is there already
    ship(folder, store)
    assert stored(store).num_rows == 9
    assert "damaged in 1 places" in caplog.text
    assert waiting(folder) == []
    assert path.with_suffix(".damaged").read_bytes() == content


class Liar(FolderStore):
    """A store that changes what it is given."""

    def put(self, key: str, content: bytes, if_match: str | None = None, if_none_match: bool = False) -> str:
        return super().put(key, content[:-1], if_match, if_none_match)


def test_an_upload_that_differs_is_noticed_and_the_segment_kept(test_digits, folder, tmp_path):
    write_segment(folder, answers(test_digits, 5))
    with pytest.raises(UserError, match="other bytes"):
        ship(folder, Liar(tmp_path / "store"))
    assert len(waiting(folder)) == 1


def until(condition, timeout_s: float = 30) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_while_the_store_is_away_segments_wait_and_go_once_it_is_back(test_digits, folder, tmp_path):
    place = tmp_path / "store"
    made(place)
    away = place.rename(tmp_path / "away")
    write_segment(folder, answers(test_digits, 5))
    shipper = Shipper(folder, str(place), CaptureSettings(ship_interval_s=0.2))
    time.sleep(2)
    assert len(waiting(folder)) == 1
    assert not place.exists(), "what is shipped must not lie under the mount point of a disk that is away"
    away.rename(place)
    until(lambda: not waiting(folder))
    shipper.close()
    assert stored(open_store(str(place))).num_rows == 5


def test_a_server_that_starts_while_the_store_is_away_captures_all_the_same(test_digits, folder, tmp_path):
    place, settings = tmp_path / "store", CaptureSettings(folder=folder)
    made(place)
    for part in start(str(place), settings):
        part.close()  # so the store was seen once
    away = place.rename(tmp_path / "away")
    capture, shipper = start(str(place), settings)
    for record in answers(test_digits, 5):
        capture.put(record)
    capture.close()
    away.rename(place)
    shipper.close()
    assert stored(open_store(str(place))).num_rows == 5


def test_an_orderly_stop_ships_what_is_left(test_digits, folder, tmp_path):
    shipper = Shipper(folder, str(made(tmp_path / "store")), CaptureSettings(ship_interval_s=100))
    write_segment(folder, answers(test_digits, 5))
    shipper.close()
    assert waiting(folder) == []
    assert stored(open_store(str(tmp_path / "store"))).num_rows == 5


@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_a_shipper_killed_at_any_moment_leaves_each_record_once(kills, test_digits, folder, tmp_path):
    store, records = made(tmp_path / "store"), []
    for kill in range(kills):
        for _ in range(4):
            records += (batch := answers(test_digits, 500))
            write_segment(folder, batch)
        process = subprocess.Popen([sys.executable, "-m", "serving.shipping", str(folder), str(store), "0"])
        until(lambda: len(waiting(folder)) < 4)
        time.sleep(0.02 * kill / kills)
        process.kill()
        process.wait()
    ship(folder, store)
    found = stored_rows(store).column("prediction_id").to_pylist()
    assert sorted(found) == sorted(ids(records))


def stored_rows(store: Store) -> pa.Table:
    """Every row as it lies in the store, twice if it is there twice."""
    return pa.concat_tables(captured.from_parquet(store.get(key)) for key in captured.keys(store, captured.ANSWERS))


def test_the_same_records_give_the_same_bytes(test_digits):
    records = answers(test_digits, 20)
    assert captured.to_parquet(to_table(records)) == captured.to_parquet(to_table(records))
