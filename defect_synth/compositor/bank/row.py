"""Convert one sample to the rows that a bank stores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError
from defect_synth.samples import DefectSample, Pixels, pixels_to_unit


def row(sample: DefectSample, names: list[str]) -> dict[str, NDArray[Any]]:
    """The row to append to each array of a bank; `cleans` only if the sample has a clean image.

    Args:
        sample: The sample.
        names: Defect categories so far; a new one is appended.
    """
    if sample.defect not in names:
        names.append(sample.defect)
    clean = {} if sample.clean is None else {"cleans": sample.clean}
    return {
        "images": sample.image,
        "masks": sample.mask,
        "appearance": appearance(sample.image if sample.clean is None else sample.clean),
        "boxes": np.array(tight_box(sample.mask), np.int32),
        "labels": np.array(names.index(sample.defect), np.int32),
        "paired": np.array(sample.clean is not None, np.uint8),
        **clean,
    }


def provenance_line(sample: DefectSample) -> str:
    """The provenance of a sample as one line of JSON."""
    return json.dumps(sample.provenance.to_json()) + "\n"


def digest_start(names: Sequence[str]) -> hashlib._Hash:
    """Start the digest of a bank; provenance lines and then arrays, in the order of their names, are to be added."""
    return hashlib.sha256(json.dumps(list(names)).encode())


def appearance(image: Pixels) -> NDArray[np.float32]:
    """Mean colours of a 4x4 grid over an image, float32 [48], 0..1, for finding recorded objects that look alike."""
    grid: Pixels = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)
    return pixels_to_unit(grid.reshape(-1))


def require_size(sample: DefectSample, first: tuple[int, ...]) -> None:
    """Check that a sample has the size of the first one, since all images of a bank have one size.

    Args:
        sample: The sample.
        first: Shape of the first image, [H, W, 3].

    Raises:
        DataError: The sizes differ.
    """
    if sample.image.shape != first:
        sizes = f"{first[1]}x{first[0]}, {sample.image.shape[1]}x{sample.image.shape[0]}"
        raise DataError(f"a bank needs images of one size, found {sizes}; resize them to one")


def tight_box(mask: Pixels) -> tuple[int, int, int, int]:
    """Box (y0, x0, y1, x1) of the defect in a mask, uint8 [H, W]; zeros for an empty mask."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
    return y, x, y + height, x + width
