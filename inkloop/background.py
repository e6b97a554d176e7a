"""Paper taken away inside the model: what is broader than a pen goes, and the ink is stretched to full white.

The white top-hat (Serra 1982): a picture less its opening. A level of grey, fog, a shadow, a bar as wide as the window
are all taken away; strokes are narrower and stay.
"""

from torch import Tensor
from torch.nn import functional as F

from inkloop.readings import PIXEL_MEAN, PIXEL_STD

WINDOW_PX = 7  # MNIST's strokes are 2 to 5 pixels wide
FAINTEST = 0.05  # ink below this, of full white, is not stretched to full white


def remove_background(images: Tensor) -> Tensor:
    """images: normalized float (batch, height, width). Returns the same, as if in white ink on black paper."""
    pixels = images * PIXEL_STD + PIXEL_MEAN
    margin = WINDOW_PX // 2
    wide = F.pad(pixels[:, None], (2 * margin,) * 4, mode="replicate")
    ink = pixels - largest(-largest(-wide))[:, 0]
    return (ink / ink.amax((1, 2), keepdim=True).clamp(min=FAINTEST) - PIXEL_MEAN) / PIXEL_STD


def largest(images: Tensor) -> Tensor:
    """The largest in a window around each pixel of (batch, 1, height, width); half a window less on each side."""
    return F.max_pool2d(F.max_pool2d(images, (WINDOW_PX, 1), 1), (1, WINDOW_PX), 1)
