"""The contact sheet of `docs/lines.md`: composed test lines with the answers, and the worst cases."""

from PIL import Image, ImageDraw, ImageFont

from inkloop.line.composition import Lines
from inkloop.line.ctc import edits
from inkloop.line.runtime import LineReader

SHOWN = 14  # lines in each column
ROW, MARGIN = 62, 8  # pixels of a line with its text, around it
ZOOM = 1.5
WIDEST = 430  # pixels of a line that has a place on the sheet
RIGHT, WRONG = "#1a7f37", "#c0262d"


def contact_sheet(reader: LineReader, lines: Lines) -> Image.Image:
    """The first lines on the left, those with the most wrong digits for their length on the right."""
    answers = [reader.read(image) for image in lines.images]
    wrong = [edits(answer.digits, truth) for answer, truth in zip(answers, lines.labels, strict=True)]
    fits = [row for row, image in enumerate(lines.images) if image.shape[1] <= WIDEST]
    worst = sorted(fits, key=lambda row: wrong[row] / len(lines.labels[row]) ** 0.5, reverse=True)
    columns = [fits[:SHOWN], worst[:SHOWN]]
    across = int(WIDEST * ZOOM) + 2 * MARGIN
    sheet = Image.new("RGB", (2 * across, SHOWN * (ROW + MARGIN)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, rows in enumerate(columns):
        for place, row in enumerate(rows):
            left, top = column * across + MARGIN, place * (ROW + MARGIN) + MARGIN // 2
            image = Image.fromarray(255 - lines.images[row])
            size = int(image.width * ZOOM), int(image.height * ZOOM)
            sheet.paste(image.resize(size, Image.Resampling.BICUBIC), (left, top))
            read, written = ("".join(map(str, digits)) for digits in (answers[row].digits, lines.labels[row]))
            said = f"{read}  ({answers[row].confidence:.0%})" + ("" if read == written else f"  is {written}")
            pen.text((left + 3, top + size[1] + 1), said, RIGHT if read == written else WRONG, font)
    return sheet.quantize(64)
