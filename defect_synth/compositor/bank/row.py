"""Convert one sample to what a bank stores of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import DefectSample, Pixels, pixels_to_unit


def row(sample: DefectSample, names: list[str]) -> dict[str, NDArray[Any]]:
    """What to append to each array of a bank; `cleans` only if the sample has a clean image.

    Pixels are flat: images of any sizes stand one after the other, and `shapes` says where each one ends.

    Args:
        sample: The sample.
        names: Defect categories so far; a new one is appended.
    """
    if sample.defect not in names:
        names.append(sample.defect)
    clean = {} if sample.clean is None else {"cleans": sample.clean.reshape(-1)}
    return {
        "images": sample.image.reshape(-1),
        "masks": sample.mask.reshape(-1),
        "shapes": np.array([sample.mask.shape], np.int32),
        "appearance": appearance(sample.image if sample.clean is None else sample.clean)[None],
        "boxes": np.array([tight_box(sample.mask)], np.int32),
        "labels": np.array([names.index(sample.defect)], np.int32),
        "paired": np.array([sample.clean is not None], np.uint8),
        **clean,
    }


def provenance_line(sample: DefectSample) -> str:
    """The provenance of a sample as one line of JSON."""
    return json.dumps(sample.provenance.to_json()) + "\n"


def digest_start(names: Sequence[str]) -> hashlib._Hash:
    """Start the digest of a bank; provenance lines and then the `digested` arrays, in this order, are to be added."""
    return hashlib.sha256(json.dumps(list(names)).encode())


def digested(columns: Iterable[str], sizes: int) -> list[str]:
    """The arrays that enter the digest of a bank, in order.

    Without the shapes where all images have one size: such banks keep the digest that they had when all banks were so.

    Args:
        columns: Names of all its arrays.
        sizes: How many different sizes its images have.
    """
    return sorted(set(columns) - ({"shapes"} if sizes == 1 else set()))


def appearance(image: Pixels) -> NDArray[np.float32]:
    """Mean colours of a 4x4 grid over an image, float32 [48], 0..1, for finding recorded objects that look alike."""
    grid: Pixels = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)
    return pixels_to_unit(grid.reshape(-1))


def tight_box(mask: Pixels) -> tuple[int, int, int, int]:
    """Box (y0, x0, y1, x1) of the defect in a mask, uint8 [H, W]; zeros for an empty mask."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
    return y, x, y + height, x + width
