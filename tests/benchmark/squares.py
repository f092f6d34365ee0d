"""Images whose class is the colour of a square: learnt by a tiny network in a few steps."""

from __future__ import annotations

import numpy as np

from defect_synth.benchmark.labelled import LabelledArrays

CLASSES = ("crack", "cut", "hole")
SIZE = 32


def squares(count: int, seed: int, prefix: str, classes: tuple[str, ...] = CLASSES) -> LabelledArrays:
    """Grey noise with a square of red, green or blue; labels in turn; the mask is the square."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(classes)
    images = rng.integers(60, 120, (count, SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.zeros((count, SIZE, SIZE), np.uint8)
    for image, mask, label in zip(images, masks, labels, strict=True):
        top, left = rng.integers(0, SIZE - 12, 2)
        image[top : top + 12, left : left + 12, label % 3] = 250
        mask[top : top + 12, left : left + 12] = 1
    names = tuple(f"{prefix}/{i:03d}.png" for i in range(count))
    return LabelledArrays(images, labels.astype(np.int64), classes, names, masks)


def relabelled(arrays: LabelledArrays, labels: np.ndarray) -> LabelledArrays:
    """The same images with other labels."""
    return LabelledArrays(arrays.images, labels.astype(np.int64), arrays.classes, arrays.names, arrays.masks)
