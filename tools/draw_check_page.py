"""Draws docs/images/check_page.jpg: the page of `check --page` for procedural screws, three of them not as they should.

python -m tools.draw_check_page
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fake_parts import draw

from defect_synth.augment.check_page import write_check_page
from defect_synth.data.layouts import index
from defect_synth.product.arrangement_check import check_arrangement

NORMALS, OF_DEFECT = 16, 6
DEFECTS = ("bent_tip", "scratch_head")
WIDTH = 1110  # of the picture, in pixels


def write_screws(folder: Path) -> None:
    """Good screws, of which one is cut off and one is missing, and two defects; one image of a defect is cut off."""
    folders = [folder / "good", *(folder / name for name in DEFECTS)]
    for each in folders:
        each.mkdir(parents=True)
    images = [draw("screw", seed).image for seed in range(NORMALS)]
    images[4] = _cut_off(images[4], 80)
    images[11] = np.full_like(images[0], 60)
    for number, image in enumerate(images):
        cv2.imwrite(str(folders[0] / f"{number:03d}.png"), image[:, :, ::-1])
    for name, place in zip(DEFECTS, folders[1:], strict=True):
        for seed in range(OF_DEFECT):
            part = draw("screw", seed, defect=name)
            image, mask = part.image, part.mask * np.uint8(255)
            if name == "scratch_head" and seed == 3:
                image, mask = _cut_off(image, 45), np.roll(mask, 45, axis=1)
            cv2.imwrite(str(place / f"{seed:03d}.png"), image[:, :, ::-1])
            cv2.imwrite(str(place / f"{seed:03d}_mask.png"), mask)


def _cut_off(image: np.ndarray, by: int) -> np.ndarray:
    moved = np.roll(image, by, axis=1)
    moved[:, :by] = image[:4, :4].mean(axis=(0, 1))
    return moved


def main() -> None:
    """The sheet of the page, reduced."""
    with tempfile.TemporaryDirectory() as temporary:
        write_screws(Path(temporary) / "screw")
        check = check_arrangement(index(Path(temporary) / "screw"), for_page=True)
        print(check.format())
        _, sheet = write_check_page(check, Path(temporary) / "page")
        image = cv2.imread(str(sheet))
    assert image is not None
    size = WIDTH, round(image.shape[0] * WIDTH / image.shape[1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    path = Path(__file__).parents[1] / "docs" / "images" / "check_page.jpg"
    cv2.imwrite(str(path), small, [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
