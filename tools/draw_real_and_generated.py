"""Draw docs/images/real_and_generated.png: a normal image, a mask, the painted defect, and a real defect beside it.

    python -m tools.draw_real_and_generated

Nothing is picked: these are the first two seeds of each defect. The nuts have not been seen in the painter's training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from defect_synth.demo.hazelnut import DEFECTS, render
from defect_synth.open import open_painter
from defect_synth.product.foreground import find_foreground
from defect_synth.samples import DefectPainter, Pixels, mask_to_pixels

RESOLUTION, PER_DEFECT = 256, 2
REAL, NORMAL = 7_000_000, 8_000_000  # first seeds; `demo-data` and the painter's training use none of them
TILE, GAP, HEAD, SIDE_LABEL = 200, 8, 44, 150
NARROWEST, WIDEST = 68, 104  # sides of a crop in pixels: 2 to 3 times enlarged
INK = (30, 30, 30)


def crop(image: Pixels, mask: Pixels) -> Pixels:
    """The square around a mask, uint8 [TILE, TILE, 3], enlarged."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    side = int(np.clip(1.4 * longest, NARROWEST, WIDEST))
    top, left = (
        int(np.clip((line[0] + line[-1] + 1 - side) // 2, 0, size - side))
        for line, size in zip((rows, columns), mask.shape, strict=True)
    )
    return cv2.resize(image[top : top + side, left : left + side], (TILE, TILE), interpolation=cv2.INTER_CUBIC)


def painted(painter: DefectPainter, defect: str, seed: int) -> tuple[Pixels, Pixels, Pixels]:
    """A normal nut, a mask and the painting, cropped alike."""
    normal = render(NORMAL + seed, RESOLUTION).image
    mask = painter.propose_mask(defect, find_foreground(normal), seed, image=normal)
    shown = np.repeat(mask_to_pixels(mask)[:, :, None], 3, axis=2)
    return crop(normal, mask), crop(shown, mask), crop(painter.paint(normal, mask, defect, seed), mask)


def real(defect: str, seed: int) -> Pixels:
    """One defect as the product draws it, cropped."""
    sample = render(REAL + seed, RESOLUTION, defect)
    return crop(sample.image, sample.mask)


def sheet(rows: Sequence[tuple[str, Sequence[Pixels]]]) -> Image.Image:
    """Rows of tiles with a label on the left and the defects above."""
    count = len(rows[0][1])
    width = SIDE_LABEL + count * TILE + (count - 1) * GAP + (len(DEFECTS) - 1) * GAP
    page = Image.new("RGB", (width, HEAD + len(rows) * TILE + (len(rows) - 1) * GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(28)
    for number, (label, tiles) in enumerate(rows):
        y = HEAD + number * (TILE + GAP)
        draw.text((SIDE_LABEL - 12, y + TILE // 2), label, INK, font, anchor="rm")
        for column, tile in enumerate(tiles):
            x = SIDE_LABEL + column * (TILE + GAP) + column // PER_DEFECT * GAP
            page.paste(Image.fromarray(tile), (x, y))
            if number == 0 and column % PER_DEFECT == 0:
                middle = x + (PER_DEFECT * (TILE + GAP) - GAP) // 2
                draw.text((middle, HEAD // 2), DEFECTS[column // PER_DEFECT], INK, font, anchor="mm")
    return page


def main() -> None:
    """Draw and save the picture."""
    painter = open_painter("demo")
    assert isinstance(painter, DefectPainter)
    drawn = [(defect, number * PER_DEFECT + i) for number, defect in enumerate(DEFECTS) for i in range(PER_DEFECT)]
    clean, masks, paintings = zip(*(painted(painter, defect, seed) for defect, seed in drawn), strict=True)
    rows = [
        ("normal", clean),
        ("mask", masks),
        ("painted", paintings),
        ("real", [real(defect, seed) for defect, seed in drawn]),
    ]
    page = sheet(rows)
    page.quantize(256).save(Path(__file__).parents[1] / "docs" / "images" / "real_and_generated.png", optimize=True)


if __name__ == "__main__":
    main()
