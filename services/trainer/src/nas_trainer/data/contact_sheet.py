"""One picture of many images, with their labels and boxes."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

from nas_trainer.data.survey import Sample

_COLUMNS = 6
_SIDE = 200
_GAP = 8
_COLOURS = ("#22c55e", "#f97316", "#3b82f6", "#eab308", "#ec4899", "#06b6d4", "#a855f7", "#ef4444")


def draw(samples: Sequence[Sample], class_names: Mapping[int, str]) -> bytes:
    """PNG of `samples`, six in a row, each within a square of 200 pixels.

    A class has one colour throughout; a box carries its class's name, an image without boxes its own.
    """
    rows = max(1, math.ceil(len(samples) / _COLUMNS))
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (_COLUMNS * step + _GAP, rows * step + _GAP), "white")
    for place, sample in enumerate(samples):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(_thumbnail(sample, class_names), (_GAP + column * step, _GAP + row * step))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def _thumbnail(sample: Sample, class_names: Mapping[int, str]) -> Image.Image:
    image = Image.open(io.BytesIO(sample.data)).convert("RGB")
    scale = _SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    pencil = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    for number, label in enumerate(sample.labels):
        colour = _COLOURS[label % len(_COLOURS)]
        corner = (0.0, 0.0)
        if sample.boxes:
            box = sample.boxes[number]
            corner = (box.xmin * image.width, box.ymin * image.height)
            pencil.rectangle(
                (*corner, box.xmax * image.width, box.ymax * image.height), outline=colour, width=2
            )
        text = class_names.get(label, str(label))
        pencil.rectangle(pencil.textbbox(corner, text, font=font), fill=colour)
        pencil.text(corner, text, fill="white", font=font)
    return image
