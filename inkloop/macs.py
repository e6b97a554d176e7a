"""Multiply-accumulates of a model for one picture: what it costs to run, wherever it runs."""

import torch
from torch import Tensor, nn

from inkloop.rnn_weights import gates_of


def count_macs(model: nn.Module, frame: int = 28) -> int:
    """Products of inputs with weights for one picture of `frame` pixels a side, such as a recognizer or a control.

    A linear layer costs its matrix at each place it is applied, a convolution its kernels at each pixel it puts out, a
    recurrent layer its matrices at each step and each way. Biases, products of activations with each other (gates,
    attention's mean), nonlinearities and topology's bits are not counted.
    """
    macs = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(layer, nn.RNNBase):
            # Of one picture there is one sequence, or as many as its grid has columns or rows.
            steps, ways = inputs[0].shape[:2].numel(), 2 if layer.bidirectional else 1
            macs += steps * ways * gates_of(layer) * layer.hidden_size * (layer.input_size + layer.hidden_size)
        elif isinstance(layer, nn.Conv2d):
            macs += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            macs += output.numel() * layer.in_features

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    was_training, device = model.training, next(model.parameters()).device
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, frame, frame, device=device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return macs
