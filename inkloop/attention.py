"""Where the model looked: attention over steps laid back on the picture."""

import numpy as np
from numpy.typing import NDArray

from inkloop.readings import Reading


def attention_map(weights: NDArray[np.float32], reading: Reading, frame: int) -> NDArray[np.float32]:
    """Spread each step's weight over its tile. weights: (steps,). Returns float32 (frame, frame), most = 1."""
    tile_height, tile_width = reading.tile(frame)
    while reading.kind == "sweeps" and len(weights) < (-(-frame // tile_height)) ** 2:  # the grid was halved
        tile_height, tile_width = 2 * tile_height, 2 * tile_width
    grid = weights.reshape(-(-frame // tile_height), -(-frame // tile_width))
    spread = np.kron(grid, np.ones((tile_height, tile_width), np.float32))[:frame, :frame]
    return spread / max(float(spread.max()), 1e-12)
