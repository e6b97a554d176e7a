"""Pruning: whole units go, the lightest first, and the rest is a smaller dense LSTM that answers the same."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from variants import shapes

from inkloop.augmentation import AugmentationSettings
from inkloop.batches import Batch
from inkloop.distillation import soft_labels
from inkloop.errors import UserError
from inkloop.export import build
from inkloop.model import ModelSettings, Reader, Recognizer, count_parameters, normalize, readers_of
from inkloop.pruning import PruningSettings, cut, prune, sparsifying_loss, unit_norms
from inkloop.readings import Reading
from inkloop.training import TrainingSettings

HIDDEN_SIZE = 10
SHARES = st.floats(0, 0.99)


def small_model(seed: int = 0) -> Recognizer:
    torch.manual_seed(seed)
    readings = (Reading(kind="rows", size=4), Reading(kind="columns", size=4))
    return Recognizer(ModelSettings(readings=readings, hidden_size=HIDDEN_SIZE, attention_size=6, fc_size=12)).eval()


@torch.no_grad()
def erase(reader: Reader, unit: int, direction: int, depth: int = 0) -> None:
    """Set all that a unit consists of to zero: its gates, and what others take from it."""
    layer, end = reader.layers[depth], ("l0", "l0_reverse")[direction]
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(layer, f"{name}_{end}")[unit :: layer.hidden_size] = 0
    getattr(layer, f"weight_hh_{end}")[:, unit] = 0
    readers = [reader.project.weight]
    if reader.attention is not None:
        readers.append(reader.attention.key.weight)
    if depth + 1 < len(reader.layers):
        readers = [each for name, each in reader.layers[depth + 1].named_parameters() if name.startswith("weight_ih")]
    for weight in readers:
        weight[:, direction * layer.hidden_size + unit] = 0


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    erased=st.lists(
        st.lists(st.integers(0, HIDDEN_SIZE - 1), min_size=3, max_size=3, unique=True), min_size=4, max_size=4
    ),
)
@torch.no_grad()
def test_cutting_units_that_are_zero_changes_no_answer(seed, erased):
    model = small_model(seed)
    places = [(reader, direction) for reader in readers_of(model) for direction in (0, 1)]
    for (reader, direction), units in zip(places, erased, strict=True):
        for unit in units:
            erase(reader, unit, direction)
    images = torch.randn(5, 28, 28, generator=torch.Generator().manual_seed(seed))
    smaller = cut(model, 0.3).eval()
    assert smaller.settings.hidden_size == HIDDEN_SIZE - 3
    torch.testing.assert_close(smaller(images).logits, model(images).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_cutting_zero_units_of_a_trained_model_changes_no_answer_to_real_digits(trained_model, test_digits):
    for reader in readers_of(trained_model):
        for direction in (0, 1):
            for unit in (1, 5, 6, 15):
                erase(reader, unit, direction)
    images = normalize(torch.from_numpy(test_digits.images[:200]))
    before, after = trained_model(images), cut(trained_model, 0.25).eval()(images)
    torch.testing.assert_close(after.logits, before.logits, atol=1e-4, rtol=1e-4)
    for smaller, whole in zip(after.attention, before.attention, strict=True):
        torch.testing.assert_close(smaller, whole, atol=1e-5, rtol=0)


@settings(max_examples=60)
@given(shape=shapes(highway=st.just(False), hidden_size=st.integers(1, 12)), share=SHARES)
@torch.no_grad()
def test_cutting_units_that_are_zero_changes_no_answer_whatever_the_shape(shape, share):
    torch.manual_seed(0)
    model = Recognizer(shape).eval()
    for reader in readers_of(model):
        for depth, layer in enumerate(reader.layers):
            for direction in range(1 + layer.bidirectional):
                for unit in range(layer.hidden_size - max(1, round(layer.hidden_size * (1 - share)))):
                    erase(reader, unit, direction, depth)
    images = torch.randn(5, 28, 28, generator=torch.Generator().manual_seed(0))
    smaller = cut(model, share).eval()
    kept = [layer.hidden_size for layer in readers_of(smaller)[0].layers]
    assert kept == [max(1, round(layer.hidden_size * (1 - share))) for layer in readers_of(model)[0].layers]
    torch.testing.assert_close(smaller(images).logits, model(images).logits, atol=1e-5, rtol=1e-5)


def test_units_with_a_way_around_them_cannot_be_cut():
    with pytest.raises(UserError, match="highway: units with a way around them cannot be cut"):
        cut(Recognizer(ModelSettings(hidden_size=HIDDEN_SIZE, highway=True)), 0.5)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), share=SHARES)
@torch.no_grad()
def test_exactly_the_lightest_units_are_cut(seed, share):
    model = small_model(seed)
    smaller = cut(model, share)
    kept = smaller.settings.hidden_size
    assert kept == max(1, round(HIDDEN_SIZE * (1 - share)))
    for old, new in zip(readers_of(model), readers_of(smaller), strict=True):
        for direction in (0, 1):
            columns = slice(direction * HIDDEN_SIZE, (direction + 1) * HIDDEN_SIZE)
            remaining = {tuple(column) for column in new.project.weight[:, direction * kept :][:, :kept].T.tolist()}
            units = [tuple(column) in remaining for column in old.project.weight[:, columns].T.tolist()]
            norms = unit_norms(old)[direction]
            is_kept = torch.tensor(units)
            assert is_kept.sum() == kept
            if kept < HIDDEN_SIZE:
                assert norms[is_kept].min() >= norms[~is_kept].max()


@torch.no_grad()
def test_cutting_nothing_changes_nothing():
    model = small_model()
    whole = cut(model, 0)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name


@torch.no_grad()
def test_a_units_norm_is_of_all_it_reads_and_all_that_reads_it():
    reader = readers_of(small_model())[0]
    lstm = reader.lstm
    for end, direction in (("l0", 0), ("l0_reverse", 1)):
        for unit in (0, 7):
            rows = [gate * HIDDEN_SIZE + unit for gate in range(4)]
            column = direction * HIDDEN_SIZE + unit
            group = torch.cat(
                [
                    getattr(lstm, f"weight_ih_{end}")[rows].flatten(),
                    getattr(lstm, f"weight_hh_{end}")[rows].flatten(),
                    getattr(lstm, f"weight_hh_{end}")[:, unit],
                    reader.attention.key.weight[:, column],
                    reader.project.weight[:, column],
                ]
            )
            torch.testing.assert_close(unit_norms(reader)[direction, unit], group.norm())


def test_a_smaller_model_is_smaller_as_numbers_and_as_a_file(trained_model):
    smaller = cut(trained_model, 0.25)
    assert count_parameters(smaller) < 0.8 * count_parameters(trained_model)
    assert build(smaller, int8=True).ByteSize() < build(trained_model, int8=True).ByteSize()
    assert readers_of(smaller)[0].lstm.hidden_size == 12


def test_the_lasso_pulls_every_unit_towards_nothing():
    model = small_model()
    images, labels = torch.zeros(2, 28, 28), torch.zeros(2, dtype=torch.int64)
    batch = Batch(torch.arange(2), images, labels)
    loss = sparsifying_loss(model, lambda answer, _: answer.logits.sum() * 0, lasso=1.0)
    before = [unit_norms(reader).detach() for reader in readers_of(model)]
    loss(model(images), batch).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for reader, norms in zip(readers_of(model), before, strict=True):
        assert (unit_norms(reader) < norms).all()


@pytest.fixture
def recipe() -> PruningSettings:
    short = TrainingSettings(epochs=1, batch_size=64, learning_rate=3e-3)
    return PruningSettings(share=0.25, lasso=1e-3, sparsifying=short, recovering=short)


def test_a_pruned_student_recovers_and_its_epochs_are_counted_through(
    trained_model, learnt, train_digits, validation_digits, recipe
):
    told: list[tuple[int, int]] = []
    digits = train_digits.take(slice(0, 2000))
    pruned, state = prune(
        soft_labels([learnt], digits),
        trained_model,
        digits,
        validation_digits,
        AugmentationSettings(),
        recipe,
        seed=0,
        on_epoch=lambda _, result, __: told.append((result.epoch, result.epochs)),
    )
    assert pruned.settings.hidden_size == 12
    assert state.best_accuracy > 0.8
    assert told == [(0, 2), (1, 2)]
