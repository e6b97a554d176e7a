"""LSTM layers in training, by compiled code (lstm.c) where it was built: PyTorch's answers in half the time."""

import struct
from typing import Any

import torch
from torch import Tensor, nn

from inkloop.rnn_weights import ends_of

try:
    from inkloop import _lstm
except ImportError:  # it was installed where there is no C compiler
    _lstm = None  # type: ignore[assignment]

LANES = 8  # as lanes.h has it
SAVED = 6  # floats of a unit and step that gradients need, as lstm.c has them
LAYER = "=5i"  # lstm.c's
PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def takes(layer: nn.RNNBase, sequence: Tensor) -> bool:
    """Whether `states` gives what the layer would: an LSTM of one layer, where gradients are wanted, on a CPU."""
    return (
        _lstm is not None
        and type(layer) is nn.LSTM  # PyTorch quantizes layers into others
        and torch.is_grad_enabled()
        and type(sequence) is Tensor  # not what exports trace with
        and sequence.dtype == torch.float32
        and sequence.device.type == "cpu"
    )


def states(layer: nn.RNNBase, sequence: Tensor) -> Tensor:
    """sequence float (batch, steps, features). Returns (batch, steps, ways * hidden)."""
    ends = ends_of(layer)
    weights = torch.cat([layer.get_parameter(f"{part}_{end}").flatten() for end in ends for part in PARTS])
    found: Tensor = _States.apply(sequence, weights, layer.hidden_size, len(ends))  # type: ignore[no-untyped-call]
    return found


class _States(torch.autograd.Function):
    """An LSTM layer's states; weights: all of them in one, as lstm.c wants them."""

    @staticmethod
    def forward(ctx: Any, sequence: Tensor, weights: Tensor, hidden_size: int, ways: int) -> Tensor:  # noqa: ANN401
        sequence, weights = sequence.contiguous(), weights.contiguous()
        batch, steps, features = sequence.shape
        found = sequence.new_empty(batch, steps, ways * hidden_size)
        saved = sequence.new_empty(batch * steps * ways * SAVED * -(-hidden_size // LANES) * LANES)
        ctx.layer = struct.pack(LAYER, batch, steps, features, hidden_size, ways)
        _lstm.states(ctx.layer, *_arrays(sequence, weights, found, saved))
        ctx.save_for_backward(sequence, weights, saved)
        return found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_states: Tensor) -> tuple[Tensor | None, Tensor, None, None]:  # noqa: ANN401
        sequence, weights, saved = ctx.saved_tensors
        of_sequence = torch.empty_like(sequence) if ctx.needs_input_grad[0] else sequence.new_empty(0)
        of_weights = torch.empty_like(weights)
        _lstm.gradients(ctx.layer, *_arrays(sequence, weights, saved, of_states.contiguous(), of_sequence, of_weights))
        return of_sequence if ctx.needs_input_grad[0] else None, of_weights, None, None


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().numpy() for tensor in tensors]
