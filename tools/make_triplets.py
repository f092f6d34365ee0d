"""Draws triplets.png: normal images of the procedural product, drawn masks, defects by the shipped painter."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from defect_synth.demo.hazelnut import render
from defect_synth.open import open_painter
from defect_synth.product.foreground import find_foreground

SIDE, GAP, BASE = 256, 6, 8_000_000  # `demo-data` and the painter's training use none of these nuts


def main() -> None:
    """One column for each defect and two seeds of it."""
    painter = open_painter("demo")
    columns = []
    for number, defect in enumerate([d for d in painter.defects for _ in range(2)]):
        clean = render(BASE + number, SIDE).image
        mask = painter.propose_mask(defect, find_foreground(clean), number)
        painted = painter.paint(clean, mask, defect, number)
        shown = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
        columns.append(np.concatenate([clean, np.full((GAP, SIDE, 3), 255, np.uint8), shown,
                                       np.full((GAP, SIDE, 3), 255, np.uint8), painted]))  # fmt: skip
    gap = np.full((columns[0].shape[0], GAP, 3), 255, np.uint8)
    sheet = np.concatenate([part for column in columns for part in (column, gap)][:-1], axis=1)
    small = cv2.resize(sheet, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(Path(__file__).parents[1] / "docs" / "images" / "triplets.png"), small[:, :, ::-1])


if __name__ == "__main__":
    main()
