"""The contact sheet of a generated folder: clean image, mask and defect image of a few samples of each defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defect_synth.data.png import decode_png, write_png
from defect_synth.files import MIB, read_bytes
from defect_synth.samples import Pixels

_ROWS = 12  # on the whole sheet
_PER_ROW = 3  # samples
_SIDE = 256  # longer side of each picture, at most
_MOST_BYTES = 512 * MIB  # of a picture
_GAP = 6  # pixels between two samples


def write_contact_sheet(path: Path, root: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the first samples of each defect as one PNG, three to a row, each as clean image | mask | defect image.

    Pictures are reduced and padded to one size. A missing clean image is dark.

    Args:
        path: The file to write.
        root: Folder that the paths in `lines` are relative to.
        lines: Lines of `provenance.jsonl`, in order.

    Raises:
        OutputError: The file cannot be written.
    """
    defects = sorted({str(line["defect"]) for line in lines})
    per_defect = _PER_ROW * max(1, _ROWS // max(1, len(defects)))
    shown = [line for defect in defects for line in [x for x in lines if x["defect"] == defect][:per_defect]]
    strips = {}
    for line in shown:
        image, mask = _read(root / str(line["image"])), _read(root / str(line["mask"]))
        clean = _read(root / str(line["clean"])) if "clean" in line else np.full_like(image, 32)
        strips[str(line["image"])] = np.hstack([_reduced(picture) for picture in (clean, mask, image)])
    height, width = (max(strip.shape[axis] for strip in strips.values()) for axis in (0, 1))
    rows = []
    for defect in defects:
        padded = [_padded(strips[str(x["image"])], height, width + _GAP) for x in shown if x["defect"] == defect]
        padded += [np.full_like(padded[0], 255)] * (-len(padded) % _PER_ROW)
        rows += [np.hstack(padded[i : i + _PER_ROW]) for i in range(0, len(padded), _PER_ROW)]
    write_png(path, np.vstack(rows))


def _reduced(picture: Pixels) -> Pixels:
    scale = _SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _padded(picture: Pixels, height: int, width: int) -> Pixels:
    below, right = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=255)


def _read(path: Path) -> Pixels:
    """A PNG file as uint8 [H, W, 3]."""
    picture = decode_png(read_bytes(path, _MOST_BYTES))
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
