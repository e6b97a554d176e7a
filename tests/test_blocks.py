"""Digits that are too many for memory: read block by block, shared among workers, and learned as well."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from inkloop import digits
from inkloop.batches import batches, steps_per_epoch
from inkloop.digits import Digits, Shards
from inkloop.errors import UserError
from inkloop.model import ModelSettings, Recognizer, normalize
from inkloop.readings import Reading
from inkloop.training import TrainingSettings, accuracy, fit


@dataclass(frozen=True)
class Cut:
    """Digits cut into blocks."""

    whole: Digits
    size: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(min(self.size, len(self.whole) - start) for start in range(0, len(self.whole), self.size))

    def read(self, number: int) -> Digits:
        return self.whole.take(slice(number * self.size, (number + 1) * self.size))


@pytest.fixture
def cut(train_digits) -> Cut:
    return Cut(train_digits, 130)


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [2, 64, 97])
def test_workers_share_the_digits_and_read_none_twice(cut, workers, batch_size):
    drawn = [list(batches(cut, batch_size, None, 7, rank, workers)) for rank in range(workers)]
    assert {len(each) for each in drawn} == {steps_per_epoch(cut, batch_size, workers)}
    rows = torch.cat([batch.rows for each in drawn for batch in each])
    assert len(rows) == len(rows.unique())
    missed = len(cut.whole) - len(rows)
    assert 0 <= missed <= workers * cut.size + max(batch_size, workers)


def test_a_batch_holds_the_digits_that_its_rows_name(cut):
    for batch in batches(cut, 64, None, 7):
        named = cut.whole.take(batch.rows.numpy())
        assert np.array_equal(batch.labels, named.labels)
        assert torch.equal(batch.images, normalize(torch.from_numpy(named.images).float()))


def test_each_epoch_has_an_order_of_its_own_that_repeats(cut):
    first, again, second = (torch.cat([batch.rows for batch in batches(cut, 64, None, seed)]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert (first.diff().abs() > 1).float().mean() > 0.9, "neighbors stayed neighbors"


def test_the_parts_of_a_step_weigh_what_they_hold(cut):
    parts = [next(batches(cut, 97, None, 7, rank, 2)) for rank in range(2)]
    assert [len(part.rows) for part in parts] == [49, 48]
    assert [part.weight for part in parts] == [98 / 97, 96 / 97]


def test_a_model_learns_from_blocks_as_from_memory(cut, validation_digits):
    reached = []
    for train in (cut.whole, cut):
        torch.manual_seed(0)
        model = Recognizer(ModelSettings(readings=(Reading(kind="rows", size=4),), hidden_size=16, attention_size=8))
        fit(model, train, validation_digits, TrainingSettings(epochs=4, batch_size=32, learning_rate=1e-2), None, 0)
        reached.append(accuracy(model, validation_digits))
    assert reached[1] > 0.8
    assert reached[1] == pytest.approx(reached[0], abs=0.05)


def test_more_workers_than_blocks_are_a_mendable_error(cut):
    with pytest.raises(UserError, match=r"31 blocks of digits do not fill a batch of 64 for each of 40 workers"):
        steps_per_epoch(cut, 64, 40)


def test_a_table_is_read_whole_or_shard_by_shard(mnist_table, mnist):
    assert isinstance(digits.read_or_stream(mnist_table, "train", 1_000_000), Digits)
    shards = digits.read_or_stream(mnist_table, "train", 30_000)
    assert isinstance(shards, Shards)
    assert sum(shards.sizes) == len(mnist["train"])
    parts = [shards.read(number) for number in range(len(shards.sizes))]
    assert [len(part) for part in parts] == list(shards.sizes)
    assert np.array_equal(np.concatenate([part.images for part in parts]), mnist["train"].images)
