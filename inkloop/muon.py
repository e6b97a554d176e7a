"""Muon (Jordan 2024): each matrix takes a step of its momentum made orthogonal, so that no direction is left behind.

PyTorch's own rounds to bfloat16, which a CPU without such units only emulates, and takes the matrices one by one.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Newton and Schulz's iteration, for singular values between 0.7 and 1.2
RMS = 0.2  # of a step, as AdamW's are, so that one learning rate serves both (Liu 2025)


class Muon:
    """Muon for matrices, AdamW for all else, of which there must be some; used as PyTorch's optimizers are."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        parameters = list(parameters)
        self.matrices = [parameter for parameter in parameters if is_matrix(parameter)]
        others = [parameter for parameter in parameters if not is_matrix(parameter)]
        self.adamw = torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay, fused=True)
        self.group: dict[str, Any] = {"params": self.matrices, "lr": lr, "weight_decay": weight_decay}
        self.param_groups = [self.group, *self.adamw.param_groups]
        self.momenta = [torch.zeros_like(matrix) for matrix in self.matrices]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for matrix in self.matrices:
            matrix.grad = None
        self.adamw.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters by their gradients; a parameter without one stays."""
        lr, shapes = self.group["lr"], dict[torch.Size, list[tuple[nn.Parameter, Tensor]]]()
        for matrix, momentum in zip(self.matrices, self.momenta, strict=True):
            if matrix.grad is not None:
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                shapes.setdefault(matrix.shape, []).append((matrix, matrix.grad.lerp(momentum, MOMENTUM)))
        for shape, alike in shapes.items():
            directions = orthogonalized(torch.stack([direction for _, direction in alike]))
            for (matrix, _), direction in zip(alike, directions, strict=True):
                matrix.mul_(1 - lr * self.group["weight_decay"])
                matrix.add_(direction, alpha=-lr * RMS * max(shape) ** 0.5)
        self.adamw.step()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {"momenta": self.momenta, "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for momentum, kept in zip(self.momenta, state["momenta"], strict=True):
            momentum.copy_(kept)
        self.adamw.load_state_dict(state["adamw"])
        self.param_groups = [self.group, *self.adamw.param_groups]


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether it maps several numbers to several."""
    return parameter.dim() == 2 and min(parameter.shape) > 1


def orthogonalized(matrices: Tensor) -> Tensor:
    """Near the closest matrices with orthonormal rows or columns: (n, rows, columns) in and out."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    wide: Tensor = matrices.mT if is_tall else matrices
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        square = wide @ wide.mT
        wide = a * wide + (b * square + c * square @ square) @ wide
    return wide.mT if is_tall else wide
