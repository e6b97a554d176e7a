from typing import Any

from numpy.typing import NDArray

def states(
    layer: bytes, sequence: NDArray[Any], weights: NDArray[Any], found: NDArray[Any], saved: NDArray[Any]
) -> None: ...
def gradients(
    layer: bytes,
    sequence: NDArray[Any],
    weights: NDArray[Any],
    saved: NDArray[Any],
    of_states: NDArray[Any],
    of_sequence: NDArray[Any],
    of_weights: NDArray[Any],
) -> None: ...
