"""The recognizer: several readings, attention, a gate; answers that padding and company never change."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from inkloop.model import ModelSettings, Recognizer, count_parameters, normalize, readers_of
from inkloop.readings import BACKGROUND, Reading

SMALL = ModelSettings(hidden_size=12, attention_size=6, fc_size=16)
TOLERANCE = 1e-5


@pytest.fixture
def images(mnist) -> torch.Tensor:
    return normalize(torch.from_numpy(mnist["test"].images[:6]))


@pytest.fixture
def model() -> Recognizer:
    torch.manual_seed(0)
    return Recognizer(SMALL).eval()


@pytest.fixture
def mixed_sizes(images) -> list[torch.Tensor]:
    """Real digits with different margins, so of different sizes."""
    margins = [(0, 0, 0, 0), (5, 9, 0, 0), (0, 0, 3, 30), (1, 2, 3, 4), (28, 28, 28, 28), (0, 0, 0, 1)]
    return [F.pad(image, margin, value=BACKGROUND) for image, margin in zip(images, margins, strict=True)]


@torch.no_grad()
def test_padding_never_changes_an_answer(model, mixed_sizes):
    together = model(mixed_sizes)
    for row, image in enumerate(mixed_sizes):
        alone = model(image[None])
        torch.testing.assert_close(together.logits[row], alone.logits[0], atol=TOLERANCE, rtol=0)
        for shared, own in zip(together.attention, alone.attention, strict=True):
            steps = own.shape[1]
            torch.testing.assert_close(shared[row, :steps], own[0], atol=TOLERANCE, rtol=0)
            assert not shared[row, steps:].any(), "it looked at padding"


def test_padding_never_changes_what_is_learned(model, mixed_sizes):
    model(mixed_sizes).logits.logsumexp(1).sum().backward()
    together = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    for image in mixed_sizes:
        model(image[None]).logits.logsumexp(1).sum().backward()
    for shared, own in zip(together, model.parameters(), strict=True):
        torch.testing.assert_close(shared, own.grad, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_list_of_digits_of_one_size_is_answered_like_the_batch(model, images):
    torch.testing.assert_close(model(list(images)).logits, model(images).logits, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_attention_and_gate_are_shares_of_a_whole(model, images):
    answer = model(images)
    assert [weights.shape for weights in answer.attention] == [(6, 14), (6, 14), (6, 16)]
    assert answer.gate.shape == (6, 3)
    for shares in (*answer.attention, answer.gate):
        assert (shares >= 0).all()
        torch.testing.assert_close(shares.sum(1), torch.ones(6))


@pytest.mark.parametrize("readings", [("rows",), ("columns", "patches"), ("rows", "columns", "patches")])
def test_a_model_may_read_one_way_or_several(images, readings):
    settings = SMALL.model_copy(update={"readings": tuple(Reading(kind=kind, size=4) for kind in readings)})
    answer = Recognizer(settings)(images)
    assert answer.logits.shape == (6, 10)
    assert answer.gate.shape == (6, len(readings))


@torch.no_grad()
def test_the_gate_decides_which_reading_is_heard(model, images):
    model.gate.weight.zero_()
    model.gate.bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    before = model(images).logits
    deaf = model.get_submodule("readers.2.project")
    assert isinstance(deaf, nn.Linear)
    deaf.bias.add_(1)
    torch.testing.assert_close(model(images).logits, before)


def test_recurrent_matrices_start_orthogonal_and_forget_gates_open(model):
    for reader in readers_of(model):
        for end in ("l0", "l0_reverse"):
            for gate in getattr(reader.lstm, f"weight_hh_{end}").detach().chunk(4):
                torch.testing.assert_close(gate @ gate.T, torch.eye(12), atol=1e-5, rtol=0)
            _, forget, _, _ = getattr(reader.lstm, f"bias_ih_{end}").detach().chunk(4)
            assert (forget == 1).all()


def test_normalized_training_digits_have_mean_0_and_deviation_1(mnist):
    pixels = normalize(torch.from_numpy(mnist["train"].images))
    assert abs(pixels.mean().item()) < 0.01
    assert abs(pixels.std().item() - 1) < 0.01


def test_parameters_are_counted():
    assert count_parameters(nn.Linear(3, 4)) == 16
