"""How PyTorch lays out and names the weights of a recurrent layer."""

from torch import nn


def gates_of(layer: nn.RNNBase) -> int:
    """Matrices that lie under each other in a weight of the layer: 4 of an LSTM, 3 of a GRU, 1 of a plain RNN."""
    return len(layer.get_parameter("weight_hh_l0")) // layer.hidden_size


def ends_of(layer: nn.RNNBase) -> tuple[str, ...]:
    """How PyTorch ends the names of the layer's weights: one ending a direction, forward first."""
    return ("l0", "l0_reverse") if layer.bidirectional else ("l0",)
