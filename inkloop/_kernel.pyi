from typing import Any

from numpy.typing import NDArray

def answers(
    images: NDArray[Any],
    shape: bytes,
    weights: NDArray[Any],
    room: int,
    probabilities: NDArray[Any],
    attention: NDArray[Any],
) -> None: ...
