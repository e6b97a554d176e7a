"""Sketches: parts add up to the whole, and a report made from one comes to the verdicts of one on all rows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests import jensenshannon_stat_test, wasserstein_stat_test
from hypothesis import given
from hypothesis import strategies as st
from recorded import answers
from scipy import ndimage

from inkloop.runtime import Recognizer
from monitoring.drift.features import CLASSES, Basis, basis_of
from monitoring.reports import report
from monitoring.reports.observed import OF_THE_ANSWER, OF_THE_IMAGE, Observed, columns_of, observe
from monitoring.reports.report import drift_preset
from monitoring.reports.sketch import BINS, ROWS, Grid, Sketch
from serving.shipping import to_table

PRODUCTION = 12_000  # more than a sketch lays out, so that it has to choose


@st.composite
def observed(draw, most: int = 200) -> Observed:
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, most))
    rng = np.random.default_rng(seed)
    values = {"width": rng.normal(2.5, 0.5, count), "sure": rng.beta(20, 1, count)}
    return Observed(values, rng.integers(0, CLASSES, count), rng.integers(-1, CLASSES, count))


GRID = Grid({"width": -1.0, "sure": -1.0}, {"width": 6.0, "sure": 2.0})


def same(one: Sketch, other: Sketch) -> bool:
    return (
        all((one.values[name] == other.values[name]).all() for name in GRID.low)
        and (one.answers == other.answers).all()
        and (one.confusion == other.confusion).all()
    )


@given(observed(), st.data())
def test_sketches_of_parts_add_up_to_the_sketch_of_the_whole(whole, data):
    first = np.arange(len(whole)) < data.draw(st.integers(0, len(whole)))
    parts = Sketch.of(whole.take(first), GRID) + Sketch.of(whole.take(~first), GRID)
    assert same(parts, Sketch.of(whole, GRID))


@given(observed())
def test_a_few_rows_come_out_as_they_went_in(whole):
    """To within a bin, each column for itself."""
    laid_out = Sketch.of(whole, GRID).columns()

    assert len(laid_out) == len(whole)
    for name in GRID.low:
        bin_width = (GRID.high[name] - GRID.low[name]) / BINS
        assert np.abs(np.sort(laid_out[name]) - np.sort(whole.values[name])).max() <= bin_width * 1.001
    assert sorted(laid_out["answer"]) == sorted(map(str, whole.answers))


@given(observed())
def test_labels_come_out_as_they_went_in(whole):
    laid_out = Sketch.of(whole, GRID).labels()
    known = whole.labels >= 0
    pairs = zip(whole.labels[known], whole.answers[known], strict=True)
    assert sorted(zip(laid_out["label"], laid_out["answer"], strict=True)) == sorted((str(a), str(b)) for a, b in pairs)


def test_of_many_labels_the_errors_keep_their_share():
    confusion = np.full((CLASSES, CLASSES), 7) + np.eye(CLASSES, dtype=int) * 99_993
    empty = Sketch.of(Observed({"width": np.empty(0), "sure": np.empty(0)}, *[np.empty(0, np.int64)] * 2), GRID)

    laid_out = replace(empty, confusion=confusion).labels()

    assert len(laid_out) == ROWS
    wrong = (laid_out["label"] != laid_out["answer"]).mean()
    assert wrong == pytest.approx(1 - np.trace(confusion) / confusion.sum(), abs=1 / ROWS)


def test_what_lies_beyond_the_bins_or_is_no_number_is_counted_at_the_edge():
    values = {"width": np.array([np.inf, -np.inf, np.nan, 1e300]), "sure": np.full(4, 0.5)}
    sketch = Sketch.of(Observed(values, np.zeros(4, np.int64), np.full(4, -1)), GRID)

    assert sketch.values["width"][0] == 2 and sketch.values["width"][-1] == 2
    assert np.isfinite(sketch.columns()["width"]).all()


def test_a_column_in_which_the_reference_never_varies_is_sketched_too():
    constant = Observed({"holes": np.ones(500)}, np.zeros(500, np.int64), np.full(500, -1))
    laid_out = Sketch.of(constant, Grid.around(constant)).columns()
    assert np.abs(laid_out["holes"] - 1).max() < 1e-3


def thick(image: np.ndarray) -> np.ndarray:
    return ndimage.grey_dilation(image, (2, 2))


def leaning(image: np.ndarray) -> np.ndarray:
    return ndimage.affine_transform(image, [[1, 0], [-0.3, 1]], [0, 4.2], order=1)


def faint(image: np.ndarray) -> np.ndarray:
    return (image * 0.6).astype(np.uint8)


def noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(int(image.sum())).normal(0, 40, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(model_directory) -> Recognizer:
    return Recognizer(model_directory)


def seen(model: Recognizer, images: np.ndarray, basis: Basis) -> Observed:
    said = np.concatenate([model.probabilities(images[at : at + 256]) for at in range(0, len(images), 256)])
    values = columns_of(images, said.astype(np.float32), basis)
    compared = {name: values[name] for name in (*OF_THE_IMAGE, *OF_THE_ANSWER)}
    return Observed(compared, said.argmax(1), np.full(len(images), -1))


@pytest.fixture(scope="module")
def basis(mnist) -> Basis:
    return basis_of(mnist["validation"].images)


@pytest.fixture(scope="module")
def reference(model, mnist, basis) -> Observed:
    return seen(model, mnist["validation"].images, basis)


@pytest.fixture(scope="module")
def unchanged(model, mnist, basis) -> Observed:
    return seen(model, mnist["train"].images[:PRODUCTION], basis)


@pytest.fixture(scope="module")
def changed(model, mnist, basis) -> dict[str, Observed]:
    images = mnist["train"].images[:PRODUCTION]
    changes = {"thick": thick, "leaning": leaning, "faint": faint, "noisy": noisy}
    found = {
        name: seen(model, np.stack([change(image) for image in images]), basis) for name, change in changes.items()
    }
    ones = mnist["train"].images[mnist["train"].labels == 1]
    return found | {"only ones": seen(model, np.resize(ones, (PRODUCTION, 28, 28)), basis)}


def verdicts(current, before) -> dict[str, tuple[float, bool]]:
    """Evidently's distance of each column, and whether it takes it for drift."""
    columns = [name for name in current.columns if name != "answer"]
    definition = DataDefinition(numerical_columns=columns, categorical_columns=["answer"])
    data = [Dataset.from_pandas(each, data_definition=definition) for each in (current, before)]
    found = {}
    for metric in Report([drift_preset()]).run(*data).dict()["metrics"]:
        config = metric["config"]
        if config["type"].endswith("ValueDrift"):
            found[config["column"]] = (metric["value"], metric["value"] >= config["threshold"])
    return found


def all_rows(observed: Observed):
    return pd.DataFrame({**observed.values, "answer": observed.answers.astype(str)})


CHANGES = ["thick", "leaning", "faint", "noisy", "only ones"]


@pytest.mark.parametrize(
    ("change", "share"), [("thick", 0), *((change, share) for change in CHANGES for share in (0.1, 1))]
)
def test_the_verdicts_are_those_of_the_full_computation(change, share, reference, unchanged, changed):
    """Evidently on the sketches, and on every row: the same columns have drifted, by the same distance."""
    other = np.arange(PRODUCTION) < share * PRODUCTION
    mixed = Observed(
        {name: np.where(other, changed[change].values[name], unchanged.values[name]) for name in unchanged.values},
        np.where(other, changed[change].answers, unchanged.answers),
        unchanged.labels,
    )
    grid = Grid.around(reference)

    sketched = verdicts(Sketch.of(mixed, grid).columns(), Sketch.of(reference, grid).columns())
    full = verdicts(all_rows(mixed), all_rows(reference))

    assert set(sketched) == {*OF_THE_IMAGE, *OF_THE_ANSWER, "answer"}
    assert {name: drifted for name, (_, drifted) in sketched.items()} == {
        name: drifted for name, (_, drifted) in full.items()
    }
    for name, (distance, _) in full.items():
        assert sketched[name][0] == pytest.approx(distance, abs=0.005, rel=0.005), name
    if share == 0:
        assert not any(drifted for _, drifted in full.values())
    if share == 1:
        assert any(drifted for _, drifted in full.values())


def test_a_table_of_answers_is_read_as_it_was_captured(mnist, basis):
    """The columns are those of the pictures and of what the model said, wherever in a table they stand."""
    test = mnist["test"].take(slice(0, 50))
    table = to_table(answers(test, 50))

    found, novelty = observe(pa.concat_tables([table, table]).slice(3, 60), basis)

    rows = np.arange(3, 63) % 50
    expected = columns_of(test.images, np.stack(table.column("probabilities").to_numpy()), basis)
    for name, values in found.values.items():
        assert (values == expected[name][rows]).all(), name
    assert (novelty == expected["novelty"][rows]).all()
    assert (found.answers == test.labels[rows]).all()
    assert (found.labels == -1).all()


def test_the_limits_are_evidently_s_own():
    """So that a report says of a column what Evidently's documentation says."""
    numeric, category = wasserstein_stat_test, jensenshannon_stat_test
    assert (numeric.name, numeric.default_threshold) == (report.NUMERIC_TEST, report.NUMERIC_LIMIT)
    assert (category.name, category.default_threshold) == (report.CATEGORY_TEST, report.CATEGORY_LIMIT)
