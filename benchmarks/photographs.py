"""Pictures as people send them, made from real MNIST digits: pencil, pen on squared paper, a telephone's, chalk."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]  # 0..1


def pencil(digit: Grey, random: np.random.Generator) -> Grey:
    """Soft pencil on grey paper, 480 x 360: low contrast, grain in the paper and gaps in the stroke."""
    ink = placed(digit, (480, 360), random.uniform(180, 300), random)
    tooth = blurred_noise(ink.shape, 1.2, random)
    paper = 168 + 3 * blurred_noise(ink.shape, 12, random) + 4 * tooth
    return as_grey(paper - 32 * ink * (0.8 + 0.25 * tooth).clip(0.2, 1) + random.normal(0, 4, ink.shape))


def squared_paper(digit: Grey, random: np.random.Generator) -> Grey:
    """Blue pen on squared paper, 480 x 360, lit from one side."""
    ink = placed(digit, (480, 360), random.uniform(180, 300), random)
    printed = lines(ink.shape, random.uniform(28, 40), random, down=True)
    return as_grey(light(ink.shape, random, 0.15) * (240 - 50 * printed) * (1 - 0.7 * ink))


def ruled_paper(digit: Grey, random: np.random.Generator) -> Grey:
    """Blue pen on ruled paper, 480 x 360, lit from one side."""
    ink = placed(digit, (480, 360), random.uniform(180, 300), random)
    printed = lines(ink.shape, random.uniform(40, 60), random, down=False)
    return as_grey(light(ink.shape, random, 0.15) * (240 - 60 * printed) * (1 - 0.7 * ink))


def telephone(digit: Grey, random: np.random.Generator) -> Grey:
    """A telephone's JPEG, 640 x 480: the edge of its shadow across, dark corners, held askew, not quite sharp."""
    ink = askew(placed(digit, (640, 480), random.uniform(220, 340), random), random)
    down, across = np.indices(ink.shape, np.float32) / np.float32(480) - 0.5
    angle, edge = random.uniform(0, 2 * np.pi), random.uniform(4, 25)
    side = (across * np.cos(angle) + down * np.sin(angle) - random.uniform(-0.3, 0.3)) * edge
    shadow = 1 - random.uniform(0.3, 0.5) / (1 + np.exp(-4 * side))
    vignette = 1 - 0.35 * (across**2 + down**2)
    grey = ndimage.gaussian_filter(225 * (1 - 0.65 * ink), 1.5) * shadow * vignette
    return jpeg(as_grey(grey + random.normal(0, 4, ink.shape)), quality=60)


def hard_shadow(digit: Grey, random: np.random.Generator) -> Grey:
    """The sharp shadow of a straight edge across the digit, half as bright, 480 x 360."""
    ink = placed(digit, (480, 360), random.uniform(180, 300), random)
    down, across = np.indices(ink.shape, np.float32) - np.reshape(ndimage.center_of_mass(ink), (2, 1, 1))
    angle = random.uniform(0, 2 * np.pi)
    side = across * np.cos(angle) + down * np.sin(angle) + random.uniform(-60, 60)
    shadow = 1 - 0.5 * ndimage.gaussian_filter((side > 0).astype(np.float32), 1)
    return as_grey(225 * shadow * (1 - 0.65 * ink) + random.normal(0, 4, ink.shape))


def on_a_table(digit: Grey, random: np.random.Generator) -> Grey:
    """A small sheet of paper, askew on a dark table that shows on all sides, 640 x 480."""
    sheet = placed(digit, (460, 340), random.uniform(140, 260), random)
    scene = np.zeros((640, 480), np.float32)
    scene[90:550, 70:410] = 1 - 0.35 * sheet
    bright = ndimage.gaussian_filter(askew(scene, random), 1)
    return as_grey(40 + 190 * bright + random.normal(0, 4, scene.shape))


def cut_close(digit: Grey, random: np.random.Generator) -> Grey:
    """A photograph of the digit cut to its very edges, about 200 pixels a side."""
    strokes = enlarged(digit, 280)
    rows, columns = np.flatnonzero(strokes.max(1) > 0.5), np.flatnonzero(strokes.max(0) > 0.5)
    ink = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return as_grey(light(ink.shape, random, 0.15) * 225 * (1 - 0.65 * ink) + random.normal(0, 4, ink.shape))


def chalk(digit: Grey, random: np.random.Generator) -> Grey:
    """White chalk on a dark board, 480 x 360, with the smears of what was wiped off."""
    ink = placed(digit, (480, 360), random.uniform(180, 300), random)
    grain = (0.75 + 0.3 * blurred_noise(ink.shape, 1, random)).clip(0.15, 1)
    board = 48 + 7 * blurred_noise(ink.shape, 25, random)
    return as_grey(light(ink.shape, random, 0.2) * (board + 150 * ink * grain) + random.normal(0, 3, ink.shape))


def corner(digit: Grey, random: np.random.Generator) -> Grey:
    """A small digit in one corner of a large sheet, 1600 x 1200."""
    sheet = np.zeros((1600, 1200), np.float32)
    small = enlarged(digit, int(random.uniform(100, 160)))
    top, left = (20 if random.random() < 0.5 else side - len(small) - 20 for side in sheet.shape)
    sheet[top : top + len(small), left : left + len(small)] = small
    return as_grey(light(sheet.shape, random, 0.2) * 235 * (1 - 0.7 * sheet) + random.normal(0, 4, sheet.shape))


def smooth(digit: Grey, random: np.random.Generator) -> Grey:
    """The digit enlarged to 200 to 400 pixels a side with soft edges."""
    side = int(random.uniform(200, 400))
    return np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))


def enlarged(digit: Grey, side: int) -> Plane:
    """The digit's strokes with clean edges, (side, side)."""
    soft = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    return ((soft - 0.3) / 0.4).clip(0, 1)


def placed(digit: Grey, size: tuple[int, int], side: float, random: np.random.Generator) -> Plane:
    """The digit's strokes, `side` pixels a side, anywhere on an empty sheet of this height and width."""
    sheet = np.zeros(size, np.float32)
    strokes = enlarged(digit, int(side))
    top, left = (int(random.integers(0, length - len(strokes) + 1)) for length in size)
    sheet[top : top + len(strokes), left : left + len(strokes)] = strokes
    return sheet


def blurred_noise(size: tuple[int, ...], width: float, random: np.random.Generator) -> Plane:
    """Noise of deviation 1 whose grains are this wide, in pixels."""
    noise = ndimage.gaussian_filter(random.standard_normal(size, np.float32), width)
    return noise / noise.std()


def light(size: tuple[int, ...], random: np.random.Generator, fall: float) -> Plane:
    """Light that falls off by up to twice this share across the sheet, in any direction."""
    down, across = np.indices(size, np.float32) / max(size)
    angle = random.uniform(0, 2 * np.pi)
    return (1 - fall + fall * (np.cos(angle) * (across - 0.5) + np.sin(angle) * (down - 0.5)) * 1.4).astype(np.float32)


def lines(size: tuple[int, ...], spacing: float, random: np.random.Generator, down: bool) -> Plane:
    """Lines printed across the sheet, 2 pixels thick and a little askew; `down` adds those the other way."""
    y, x = np.indices(size, np.float32)
    slope = random.uniform(-0.03, 0.03)
    printed = ((y + slope * x + random.uniform(0, spacing)) % spacing < 2).astype(np.float32)
    if down:
        printed = np.maximum(printed, (x - slope * y + random.uniform(0, spacing)) % spacing < 2)
    return ndimage.gaussian_filter(printed, 0.6)


def askew(ink: Plane, random: np.random.Generator) -> Plane:
    """The sheet turned by up to 6 degrees and seen slightly from one side."""
    height, width = ink.shape
    turn, tilt = np.radians(random.uniform(-6, 6)), random.uniform(-1.5e-4, 1.5e-4, 2)
    cos, sin = np.cos(turn), np.sin(turn)
    middle = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    view = middle @ np.array([[cos, -sin, 0], [sin, cos, 0], [*tilt, 1]]) @ np.linalg.inv(middle)
    image = Image.fromarray(ink).transform(
        (width, height), Image.Transform.PERSPECTIVE, (view / view[2, 2]).ravel()[:8], Image.Resampling.BILINEAR
    )
    return np.asarray(image, np.float32)


def jpeg(grey: Grey, quality: int) -> Grey:
    """The picture through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def as_grey(plane: NDArray[np.floating]) -> Grey:
    """Grey levels, rounded and clipped."""
    return np.rint(plane).clip(0, 255).astype(np.uint8)


KINDS = {
    kind.__name__: kind
    for kind in (
        pencil,
        squared_paper,
        ruled_paper,
        telephone,
        hard_shadow,
        on_a_table,
        cut_close,
        chalk,
        corner,
        smooth,
    )
}
