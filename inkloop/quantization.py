"""INT8: weights rounded row by row, in training and for export."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# All of INT8's range: levels are widened before they are multiplied. A CPU without VNNI that multiplied them as bytes
# would add two products in 16 bits, and saturate.
MAX_LEVEL = 127


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric levels, one scale a row, of float (rows, columns). Returns int8 levels and float scales (rows,)."""
    scales = weight.abs().amax(1).clamp(min=1e-8) / MAX_LEVEL
    levels = (weight / scales[:, None]).round().clamp(-MAX_LEVEL, MAX_LEVEL)
    return levels.to(torch.int8), scales


def round_rows(weight: Tensor) -> Tensor:
    """The weights as INT8 holds them, in float."""
    levels, scales = quantize_rows(weight)
    return levels.to(weight.dtype) * scales[:, None]


def is_quantized(name: str, parameter: nn.Parameter) -> bool:
    """Whether this parameter of a recognizer is stored as INT8: every matrix but the attention's query."""
    return parameter.dim() == 2 and not name.endswith("attention.query.weight")


@contextmanager
def rounded_weights(model: nn.Module) -> Iterator[None]:
    """Inside, the model computes with rounded weights; after, it has its exact ones back.

    A backward pass inside gives the straight-through gradient (Bengio 2013) for the exact weights.
    """
    matrices = [parameter for name, parameter in model.named_parameters() if is_quantized(name, parameter)]
    exact = [matrix.data for matrix in matrices]
    try:
        for matrix in matrices:
            matrix.data = round_rows(matrix.data)
        yield
    finally:
        for matrix, data in zip(matrices, exact, strict=True):
            matrix.data = data
