"""Muon: matrices step in all directions at once, all else as AdamW; the same as PyTorch's but for its rounding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from inkloop.model import ModelSettings, Recognizer
from inkloop.muon import Muon, orthogonalized
from inkloop.training import TrainingSettings, accuracy, fit

SMALL = ModelSettings(hidden_size=12, attention_size=6, fc_size=16, dropout=0.0)


@settings(max_examples=30)
@given(rows=st.integers(2, 40), columns=st.integers(2, 40), seed=st.integers(0, 1000))
def test_an_orthogonalized_matrix_goes_as_far_in_every_direction(rows, columns, seed):
    random = torch.Generator().manual_seed(seed)
    matrix = nn.init.orthogonal_(torch.empty(rows, columns), generator=random)
    stretched = matrix * torch.rand(columns, generator=random).add(0.5)  # no direction is nearly lost
    lengths = torch.linalg.svdvals(orthogonalized(stretched[None])[0])
    assert lengths.min() > 0.6
    assert lengths.max() < 1.3


def test_it_steps_as_pytorchs_muon_does_but_for_bfloat16():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(20, 40), nn.Parameter(torch.zeros(40, 20))
    theirs.data.copy_(ours.weight)
    one = Muon(ours.parameters(), lr=0.01, weight_decay=0.01)
    other = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    before = theirs.detach().clone()
    for _ in range(5):
        ours.weight.grad, ours.bias.grad = torch.randn(40, 20), torch.randn(40)
        theirs.grad = ours.weight.grad.clone()
        one.step()
        other.step()
    assert (ours.weight - theirs).norm() < 0.02 * (theirs - before).norm()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_training_comes_to_the_same_weights(optimizer, mnist):
    train, validation = mnist["train"].take(slice(0, 256)), mnist["validation"].take(slice(0, 50))
    recipe = TrainingSettings(epochs=2, batch_size=64, optimizer=optimizer)

    def model() -> Recognizer:
        torch.manual_seed(0)
        return Recognizer(SMALL)

    class Stopped(Exception):
        pass

    kept = {}

    def stop(_model, _result, state):
        kept["state"] = state
        raise Stopped

    unbroken, resumed = model(), model()
    fit(unbroken, train, validation, recipe, None, 0)
    with pytest.raises(Stopped):
        fit(resumed, train, validation, recipe, None, 0, on_epoch=stop)
    fit(resumed, train, validation, recipe, None, 0, state=kept["state"])
    assert all(torch.equal(one, other) for one, other in zip(unbroken.parameters(), resumed.parameters(), strict=True))


def test_it_learns_real_digits(mnist):
    train, test = mnist["train"].take(slice(0, 2000)), mnist["test"].take(slice(0, 500))
    torch.manual_seed(0)
    model = Recognizer(SMALL)
    recipe = TrainingSettings(epochs=5, batch_size=32, learning_rate=1e-2, optimizer="muon")
    fit(model, train, test, recipe, None, 0)
    assert accuracy(model, test) > 0.85
