"""Versions of production's digits: what people labeled becomes a table to learn from, named by its bytes."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from recorded import answers, label_of, write_segment

from infra import captured, datasets
from infra.storage import Missing
from inkloop import digits, sources
from inkloop.errors import UserError
from serving import shipping

EARLY, LATE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def keep(store, folder):
    """Ships records as a server does."""

    def shipped(*records) -> None:
        for kind in ("answer", "label"):
            if some := [record for record in records if record.kind == kind]:
                write_segment(folder, some)
        shipping.ship(folder, store)

    return shipped


def labels(table: pa.Table) -> list[int]:
    return table.column("label").to_pylist()


def test_only_what_people_labeled_is_learned_from(store, keep, test_digits):
    seen = answers(test_digits, 20)
    keep(*seen, *(label_of(record, int(label)) for record, label in zip(seen[:12], test_digits.labels, strict=False)))

    rows = datasets.labeled(store, EARLY, LATE)

    assert rows.schema == captured.SCHEMA
    assert labels(datasets.to_learn(rows, 100)) == test_digits.labels[:12].tolist()


def test_the_newest_come_first_when_there_are_too_many(store, keep, test_digits):
    seen = answers(test_digits, 20)
    keep(*seen, *(label_of(record, int(label)) for record, label in zip(seen, test_digits.labels, strict=False)))

    table = datasets.to_learn(datasets.labeled(store, EARLY, LATE), 5)

    assert labels(table) == test_digits.labels[15:20].tolist()


def test_a_picture_that_people_read_differently_is_left_out_and_a_copy_comes_in_once(store, keep, test_digits):
    disputed, copied = test_digits.take(slice(0, 1)), test_digits.take(slice(1, 2))
    first, second = answers(disputed, 2)
    copies = answers(copied, 3)
    keep(first, second, *copies, label_of(first, 7), label_of(second, 1), *(label_of(copy, 2) for copy in copies))

    table = datasets.to_learn(datasets.labeled(store, EARLY, LATE), 100)

    assert labels(table) == [2]


def test_a_version_comes_back_as_it_was_kept_and_has_its_name_from_its_bytes(store, mnist, tmp_path):
    table = digits.to_table(mnist["test"].images[:50], mnist["test"].labels[:50], "production", "train")

    digest = datasets.publish(store, table)

    assert datasets.publish(store, table) == digest
    assert datasets.publish(store, table.slice(1)) != digest
    assert datasets.read(store, digest).equals(table)


def test_other_bytes_under_a_versions_name_are_refused(store, mnist):
    one, other = (
        datasets.publish(
            store, digits.to_table(mnist["test"].images[at : at + 9], mnist["test"].labels[at : at + 9], "p", "train")
        )
        for at in (0, 9)
    )
    for name in ("part-00000.parquet", "manifest.sha256.json"):
        store.put(f"datasets/{one}/{name}", store.get(f"datasets/{other}/{name}"))
    with pytest.raises(UserError, match="the store holds other digits there"):
        datasets.read(store, one)


def test_what_is_not_there_is_named(store):
    with pytest.raises(UserError, match=r"nothing in .* is labeled yet"):
        datasets.publish(store, digits.SCHEMA.empty_table())
    with pytest.raises(Missing, match="datasets/none"):
        datasets.read(store, "none")


def test_a_picture_that_the_old_digits_hold_does_not_come_in_again(mnist):
    old = digits.to_table(mnist["test"].images[:10], mnist["test"].labels[:10], "mnist", "test")
    production = digits.to_table(mnist["test"].images[5:15], mnist["test"].labels[5:15], "production", "train")

    both = sources.with_production(old, production)

    assert both.column("source").to_pylist() == ["mnist"] * 10 + ["production"] * 5


def test_one_writers_digits_stay_on_one_side(store, keep, test_digits):
    keep(*answers(test_digits, 30, b"anna"), *answers(test_digits, 30, b"bert", datetime.now(UTC) - timedelta(hours=2)))

    rows = captured.read(store, EARLY, LATE)

    by_writer = {(row["writer"], row["split"]) for row in rows.select(["writer", "split"]).to_pylist()}
    assert len(by_writer) == 2
