"""The recognizer: several readings, attention, a gate; answers that padding and company never change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from variants import shapes

from inkloop.model import ModelSettings, Recognizer, count_parameters, normalize, readers_of
from inkloop.readings import BACKGROUND, Reading, read
from inkloop.recurrent import Highway

SWEEPS = Reading(kind="sweeps", size=4, margin=1)
SMALL = ModelSettings(hidden_size=12, attention_size=6, fc_size=16)
TOLERANCE = 1e-5


def with_margins(images: torch.Tensor) -> list[torch.Tensor]:
    """Six digits as six sizes of picture."""
    margins = [(0, 0, 0, 0), (5, 9, 0, 0), (0, 0, 3, 30), (1, 2, 3, 4), (28, 28, 28, 28), (0, 0, 0, 1)]
    return [F.pad(image, margin, value=BACKGROUND) for image, margin in zip(images, margins, strict=True)]


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
    return with_margins(images)


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


@settings(max_examples=60)
@given(shape=shapes(hidden_size=st.integers(2, 8)))
@torch.no_grad()
def test_padding_never_changes_an_answer_whatever_the_shape(mnist, shape):
    torch.manual_seed(0)
    model = Recognizer(shape).eval()
    pictures = with_margins(normalize(torch.from_numpy(mnist["test"].images[:6])))
    together = model(pictures)
    assert len(together.attention) == (len(shape.readings) if shape.attention_size else 0)
    for row, picture in enumerate(pictures):
        torch.testing.assert_close(together.logits[row], model(picture[None]).logits[0], atol=TOLERANCE, rtol=0)


@settings(max_examples=60)
@given(shape=shapes())
def test_a_shape_has_the_parameters_its_numbers_say(shape):
    ways, gates = 2 if shape.bidirectional else 1, {"lstm": 4, "gru": 3, "rnn": 1}[shape.cell]

    def of_a_reader(features: int) -> int:
        total = 0
        for size in (shape.hidden_size, *shape.upper_sizes):
            states = ways * size
            total += ways * gates * size * (features + size + 2)
            if shape.highway:
                total += (features + 1) * states + (0 if features == states else features * states)
            features = states
        if shape.attention_size:
            total += (features + 1) * shape.attention_size + shape.attention_size
        return total + (features + 1) * shape.fc_size

    count = len(shape.readings)
    read = sum(of_a_reader(reading.features(28)) for reading in shape.readings)
    merged = (shape.fc_size * count + 1) * count + (shape.fc_size + 1) * 10 + shape.topology * 4 * shape.fc_size
    assert count_parameters(Recognizer(shape)) == read + merged


@torch.no_grad()
def test_after_two_sweeps_every_state_knows_of_every_pixel(images):
    torch.manual_seed(0)
    (reader,) = readers_of(Recognizer(ModelSettings(readings=(SWEEPS,), hidden_size=8, upper_sizes=(8,))).double())
    grid = read(images[:1].double(), SWEEPS, 28)
    for row, column in ((0, 0), (6, 6), (3, 1)):
        changed = grid.clone()
        changed[0, row, column] += 1
        assert ((reader.states(changed, None) - reader.states(grid, None)).abs().amax(2) > 0).all()


@torch.no_grad()
def test_after_each_two_sweeps_the_grid_is_halved(images):
    shape = ModelSettings(readings=(SWEEPS,), hidden_size=4, upper_sizes=(4, 4, 4, 4, 4))
    assert Recognizer(shape)(images).attention[0].shape == (6, 2 * 2)  # of 7 x 7, by way of 4 x 4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"upper_sizes": ()}, "by turns"),
        ({"upper_sizes": (8, 8)}, "by turns"),
        ({"attention_size": 0}, "no last state"),
    ],
)
def test_sweeps_that_cannot_be_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ModelSettings(**{"readings": (SWEEPS,), "upper_sizes": (8,), **changes})


@torch.no_grad()
def test_without_attention_the_last_states_are_read(images):
    """What PyTorch itself says each direction ends with."""
    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"readings": (Reading(kind="rows"),), "attention_size": 0})
    model = Recognizer(settings).eval()
    reader = readers_of(model)[0]
    _, (ends, _) = reader.layers[0](read(images, settings.readings[0], 28))
    expected = model.head(torch.relu(reader.project(torch.cat([*ends], 1))))
    torch.testing.assert_close(model(images).logits, expected)


@torch.no_grad()
def test_a_one_way_reader_has_not_seen_what_comes_later(images):
    """A change in the last rows leaves the states before them as they were; both ways, it does not."""
    changed = images.clone()
    changed[:, 24:] += 1
    for bidirectional in (False, True):
        layer = readers_of(Recognizer(SMALL.model_copy(update={"bidirectional": bidirectional})))[0].layers[0]
        one, other = (layer(read(pictures, SMALL.readings[0], 28))[0][:, :12] for pictures in (images, changed))
        assert torch.equal(one, other) != bidirectional


@torch.no_grad()
def test_a_closed_highway_carries_past_what_an_open_one_changes(images):
    sequence = read(images, Reading(kind="rows"), 28)
    states = torch.randn(6, 14, 56, generator=torch.Generator().manual_seed(0))
    for width in (56, 30):
        highway = Highway(56, width)
        assert (highway.gate.bias == -1).all()
        highway.gate.weight.zero_()
        for bias, expected in ((-50.0, highway.carry(sequence)), (50.0, states[..., :width])):
            highway.gate.bias.fill_(bias)
            torch.testing.assert_close(highway(sequence, states[..., :width]), expected)
    assert torch.equal(Highway(56, 56).carry(sequence), sequence)


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


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells_start_orthogonal_too_with_no_bias_in_any_layer(cell):
    for reader in readers_of(Recognizer(SMALL.model_copy(update={"cell": cell, "upper_sizes": (7,)}))):
        for layer in reader.layers:
            for gate in layer.get_parameter("weight_hh_l0").detach().split(layer.hidden_size):
                torch.testing.assert_close(gate @ gate.T, torch.eye(layer.hidden_size), atol=1e-5, rtol=0)
            assert not layer.get_parameter("bias_ih_l0").any()


def test_without_the_orthogonal_start_weights_start_as_pytorchs_do():
    torch.manual_seed(0)
    own = nn.LSTM(56, 12, batch_first=True, bidirectional=True)
    torch.manual_seed(0)
    started = readers_of(Recognizer(SMALL.model_copy(update={"orthogonal": False})))[0].layers[0]
    for name, parameter in own.named_parameters():
        assert torch.equal(started.get_parameter(name), parameter)


def test_models_published_before_there_was_a_choice_of_shape_are_read():
    """Their `model.json` names no cell, and these are the names of their weights."""
    settings = ModelSettings.model_validate(
        {
            "readings": [{"kind": "rows", "size": 2}],
            "hidden_size": 12,
            "attention_size": 6,
            "fc_size": 16,
            "dropout": 0.5,
            "frame": 28,
        }
    )
    ends = [f"{name}_l0{way}" for way in ("", "_reverse") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    reader = [*(f"lstm.{end}" for end in ends), "attention.key.weight", "attention.key.bias", "attention.query.weight"]
    names = [*(f"readers.0.{name}" for name in (*reader, "project.weight", "project.bias"))]
    assert [*Recognizer(settings).state_dict()] == [
        *names,
        *("gate.weight", "gate.bias", "head.weight", "head.bias"),
    ]


def test_normalized_training_digits_have_mean_0_and_deviation_1(mnist):
    pixels = normalize(torch.from_numpy(mnist["train"].images))
    assert abs(pixels.mean().item()) < 0.01
    assert abs(pixels.std().item() - 1) < 0.01


def test_parameters_are_counted():
    assert count_parameters(nn.Linear(3, 4)) == 16
