"""Recurrent layers: the cells, how they start, how they run over padded sequences, and highways around them."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from inkloop import lstm

Cell = Literal["lstm", "gru", "rnn"]
CELLS: dict[Cell, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Highway(nn.Module):
    """A gated way around a layer (Srivastava 2015): y = t h + (1 - t) c, where h are the layer's states.

    t = sigmoid(W x + b) is learned from the layer's input x, and b starts at -1, so that more is carried past than
    changed at first. c is x itself, or, where the widths differ, a linear map of it.
    """

    def __init__(self, features: int, states: int) -> None:
        super().__init__()
        self.gate = nn.Linear(features, states)
        self.carry = nn.Identity() if features == states else nn.Linear(features, states, bias=False)
        nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, sequence: Tensor, states: Tensor) -> Tensor:
        """sequence (batch, steps, features), states (batch, steps, states). Returns the shape of the states."""
        carried: Tensor = self.carry(sequence)
        return torch.lerp(carried, states, self.gate(sequence).sigmoid())


def run(layer: nn.RNNBase, sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """sequence (batch, steps, features), real lengths (batch,) or None for all. Returns (batch, steps, ways * hidden).

    States of padding are 0, and those of real steps know nothing of it.
    """
    if lengths is None:
        states: Tensor = lstm.states(layer, sequence) if lstm.takes(layer, sequence) else layer(sequence)[0]
        return states
    packed = pack_padded_sequence(sequence, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True)[0]


def last_states(states: Tensor, lengths: Tensor | None, bidirectional: bool) -> Tensor:
    """What each direction ends with: forward after the last real step, backward at the first. See `run`.

    Returns (batch, ways * hidden).
    """
    ahead = states[:, -1] if lengths is None else states[torch.arange(len(states)), lengths - 1]
    if not bidirectional:
        return ahead
    half = states.shape[2] // 2
    return torch.cat([ahead[:, :half], states[:, 0, half:]], 1)


def init_orthogonal(layer: nn.RNNBase) -> None:
    """Orthogonal recurrent matrices (Saxe 2014), gate by gate; an LSTM's forget gates open by 1 (Jozefowicz 2015)."""
    hidden_size = layer.hidden_size
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.data.split(hidden_size):
                nn.init.orthogonal_(gate)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(parameter.data)
        else:
            parameter.data.zero_()
            if name.startswith("bias_ih") and isinstance(layer, nn.LSTM):
                parameter.data[hidden_size : 2 * hidden_size] = 1.0
