"""Pictures that people look at: contact sheets of digits as self-contained HTML."""

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from inkloop import digits
from inkloop.augmentation import AugmentationSettings, deform

ZOOM = 2
DIGITS = 12
STRONG_SHARE = {"pixel_share": 1.0}

PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px system-ui;margin:2em;max-width:60em}}img{{image-rendering:pixelated;display:block;margin:4px 0}}
table{{border-collapse:collapse}}td,th{{padding:2px 10px;text-align:left}}</style>
<h1>{title}</h1>
{body}
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A `<table>` with a row of headings. Cells are HTML."""
    headings = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{headings}</tr>{body}</table>"


def sheet(images: NDArray[np.uint8], columns: int) -> str:
    """An `<img>` tag of the images (n, height, width), `columns` a row; the last row is filled with black."""
    count, height, width = images.shape
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, height, width), np.uint8)
    filled[:count] = images
    picture = filled.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img width="{columns * width * ZOOM}" src="data:image/png;base64,{data}">'


def augmentation_page(source: Path, settings: AugmentationSettings, seed: int) -> str:
    """A page of training digits as they are and as the recipe deforms them, whole and part by part."""
    sample = digits.read(source, "train").take(slice(0, DIGITS))
    pixels = torch.from_numpy(sample.images).float()

    def deformed(recipe: AugmentationSettings) -> str:
        random = torch.Generator().manual_seed(seed)
        return sheet(deform(pixels, recipe, random).round().to(torch.uint8).numpy(), DIGITS)

    off = {name: 0 for name in AugmentationSettings.model_fields if name != "elastic_waves"}
    parts = {
        "rotation": "rotation_deg",
        "scale": "scale",
        "slant": "shear",
        "shift": "shift_px",
        "elastic waves": "elastic_px",
        "noise": "noise",
        "salt and pepper": "salt_and_pepper",
        "paper": "paper",
        "watermark": "watermark",
        "other pens": "other_pen",
        "solarized ink": "solarize",
        "pieces of other digits": "clutter",
        "holes": "erase",
        "light": "relight",
    }
    body = ["<h2>As they are</h2>", sheet(sample.images, DIGITS), "<h2>As training sees them</h2>"]
    body.append(deformed(settings))
    for title, name in parts.items():
        alone = {name: getattr(settings, name)}
        if alone[name]:
            body += [f"<h2>{title} alone</h2>", deformed(settings.model_copy(update=off | STRONG_SHARE | alone))]
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in settings.model_dump().items())
    return PAGE.format(title="Augmentation recipe", body="\n".join([*body, f"<table>{rows}</table>"]))
