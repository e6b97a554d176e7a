"""Poisoned labels are found by the source or person they come from; honest digits of a new population are not."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from labeled import answered, flipped, spread
from scipy import ndimage

from infra import captured
from inkloop import digits
from inkloop.digits import Digits
from monitoring import suspicion
from monitoring.suspicion import SuspicionSettings

SETTINGS = SuspicionSettings()


def caught(found: list[suspicion.Suspicion], poisoned: np.ndarray) -> tuple[float, int]:
    """The share of the poisoned rows that is left out, and how many others are."""
    left_out = np.zeros(len(poisoned), bool)
    left_out[suspicion.rows_of(found)] = True
    return float(left_out[poisoned].mean()), int(left_out[~poisoned].sum())


@pytest.mark.parametrize("share", [0.05, 0.2])  # of one source's labels, and of all labels
def test_labels_flipped_in_one_source_are_found_there(champion, known, mnist, share):
    shown, sources = mnist["test"].take(slice(0, 2000)), spread(2000)
    poisoned = (sources == "scans") & (np.random.default_rng(1).random(2000) < share)
    table = answered(champion, shown, flipped(shown.labels, poisoned), sources)
    found = suspicion.find(table, known, SETTINGS)
    assert [(each.who, each.kind) for each in found] == [("source scans", "contradicted labels")]
    recall, innocent = caught(found, poisoned)
    assert recall > 0.85
    assert innocent <= 10 or share > 0.1


def test_labels_flipped_in_a_population_new_to_the_champion_are_found(champion, known, strangers):
    sources = spread(1797)
    poisoned = (sources == "web") & (np.random.default_rng(1).random(1797) < 0.2)
    found = suspicion.find(answered(champion, strangers, flipped(strangers.labels, poisoned), sources), known, SETTINGS)
    assert [each.who for each in found] == ["source web"]
    assert caught(found, poisoned)[0] > 0.8


def test_one_digit_called_another_throughout_a_source_is_found(champion, known, mnist):
    shown, sources = mnist["test"].take(slice(0, 4000)), spread(4000)
    poisoned = (sources == "app") & (shown.labels == 7)
    found = suspicion.find(answered(champion, shown, np.where(poisoned, 1, shown.labels), sources), known, SETTINGS)
    assert [each.who for each in found] == ["source app"]
    assert caught(found, poisoned)[0] > 0.6


def test_a_source_with_hardly_a_right_label_is_left_out_as_a_whole(champion, known, mnist):
    shown, sources = mnist["test"].take(slice(0, 1000)), spread(1000)
    everywhere = sources == "tablet"
    table = answered(champion, shown, flipped(shown.labels, everywhere), sources)
    (found,) = suspicion.find(table, known, SETTINGS)
    assert np.array_equal(found.rows, np.flatnonzero(everywhere))
    assert "source tablet: " in found.reason
    assert "contradict those of similar digits and the model" in found.reason


@pytest.mark.parametrize("count", [50, 100, 200, 500, 1797])
def test_an_honest_new_population_is_no_poison(champion, known, strangers, count):
    shown = strangers.take(np.random.default_rng(count).permutation(1797)[:count])
    table = answered(champion, shown, shown.labels, ["new"] * count)
    misread = pc.mean(pc.not_equal(table.column("label"), table.column("answer"))).as_py()
    assert misread > 0.2
    assert suspicion.find(table, known, SETTINGS) == []


def test_honest_thick_pens_are_no_poison(champion, known, mnist):
    shown = mnist["test"].take(slice(0, 1000))
    thick = Digits(ndimage.grey_dilation(shown.images, size=(1, 3, 3)), shown.labels, shown.ids)
    assert suspicion.find(answered(champion, thick, thick.labels, ["new"] * 1000), known, SETTINGS) == []


def test_honest_digits_as_they_ever_were_are_no_poison(champion, known, mnist):
    shown = mnist["test"]
    assert suspicion.find(answered(champion, shown, shown.labels, spread(10_000)), known, SETTINGS) == []


def test_a_flood_of_copies_with_a_little_noise_is_found_and_the_first_of_each_kept(champion, known, mnist):
    honest, few = mnist["test"].take(slice(0, 300)), mnist["test"].take(slice(300, 310))
    rows = np.random.default_rng(0).integers(0, len(few), 200)
    noise = np.random.default_rng(1).normal(0, 13, (200, 28, 28))
    noisy = (few.images[rows] + noise).clip(0, 255).astype(np.uint8)
    images, labels = np.concatenate([honest.images, noisy]), np.concatenate([honest.labels, few.labels[rows]])
    shown = Digits(images, labels, tuple(digits.digit_id(image) for image in images))
    found = suspicion.find(answered(champion, shown, labels, ["app"] * 300 + ["web"] * 200), known, SETTINGS)
    assert [(each.who, each.kind) for each in found if each.kind == "copies"] == [("source web", "copies")]
    recall, innocent = caught(found, np.arange(500) >= 300)
    assert recall > 0.9
    assert innocent == 0
    assert len(set(rows.tolist()) & set(rows[np.setdiff1d(np.arange(300, 500), found[0].rows) - 300].tolist())) == 10


def test_the_same_picture_sent_again_and_again_is_found_among_any_number(champion, known, mnist):
    test = mnist["test"]
    order = np.concatenate([np.arange(10_000), np.arange(9_900, 10_000).repeat(10)])
    shown = test.take(order)
    table = answered(champion, shown, shown.labels, ["app"] * 10_000 + ["web"] * 1_000)
    (found,) = suspicion.find(table, known, SETTINGS)
    assert (found.who, len(found.rows)) == ("source web", 1_000)


def test_a_flood_of_one_digit_is_cut_down(champion, known, mnist):
    honest = mnist["test"].take(slice(0, 400))
    sevens = mnist["test"].take(np.flatnonzero(mnist["test"].labels == 7)[100:300])
    images, labels = np.concatenate([honest.images, sevens.images]), np.concatenate([honest.labels, sevens.labels])
    shown = Digits(images, labels, honest.ids + sevens.ids)
    writers = ["anna"] * 200 + ["bea"] * 200 + ["carl"] * 200
    (found,) = suspicion.find(answered(champion, shown, labels, ["app"] * 600, writers), known, SETTINGS)
    assert (found.who, found.kind) == ("writer carl", "one class")
    assert found.reason == "writer carl: 200 of 200 labels are the digit 7"
    assert np.array_equal(found.rows, np.arange(400, 600))


def test_whoever_gave_false_labels_is_named_whatever_source_they_are_of(champion, known, mnist):
    shown, sources = mnist["test"].take(slice(0, 2000)), spread(2000)
    poisoned = np.arange(2000) % 10 == 3
    table = answered(champion, shown, flipped(shown.labels, poisoned), sources)
    given = pa.table(
        {
            "prediction_id": table.column("prediction_id"),
            "label": table.column("label"),
            "writer": pa.array(np.where(poisoned, "mallory", "anna").tolist()),
            "source": pa.repeat("production", 2000),
            "seen_at": table.column("seen_at"),
        }
    )
    found = suspicion.find(table, known, SETTINGS, given)
    assert [each.who for each in found] == ["labeler mallory"]
    assert np.array_equal(found[0].rows, np.flatnonzero(poisoned))


def test_rows_without_label_are_passed_over_and_keep_their_places(champion, known, mnist):
    shown = mnist["test"].take(slice(0, 1000))
    is_labeled = np.arange(1000) % 2 == 1
    labels = np.where(is_labeled, (shown.labels + 1) % 10, -1)
    (found,) = suspicion.find(answered(champion, shown, labels, ["app"] * 1000), known, SETTINGS)
    assert np.array_equal(found.rows, np.flatnonzero(is_labeled))


def test_a_few_labels_prove_nothing(champion, known, mnist):
    shown = mnist["test"].take(slice(0, 49))
    assert suspicion.find(answered(champion, shown, (shown.labels + 1) % 10, ["app"] * 49), known, SETTINGS) == []
    assert suspicion.find(captured.SCHEMA.empty_table(), known, SETTINGS) == []
