"""A picture of generated samples, each with the outline of its mask and the real image that it is closest to."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.data.png import write_png
from defect_synth.samples import Pixels

COLUMNS = 8
_TILE = 128
_GAP = 4
_SMALL_SIDE = 32  # pixels, at which distances are measured


class Gallery(NamedTuple):
    """What the picture shows, column by column, and distances over all images; see `results.GalleryRecord`."""

    defects: tuple[str, ...]
    distances: tuple[float, ...]
    typical: float
    real: float | None


def write_gallery(synthetic: LabelledArrays, base: LabelledArrays, path: Path) -> Gallery:
    """Draw the first samples of every class: the image, its mask's outline, and the nearest real base image.

    Args:
        synthetic: Generated images with masks.
        base: Real training images of the same classes.
        path: The PNG file to write.

    Raises:
        OutputError: The file cannot be written.
    """
    labels = np.unique(synthetic.labels)
    each = max(1, COLUMNS // len(labels))
    shown = [int(i) for label in labels for i in np.flatnonzero(synthetic.labels == label)[:each]]
    distances = np.empty(len(synthetic))
    nearest = np.empty(len(synthetic), np.int64)
    between: list[float] = []
    for label in labels:
        mine, real = np.flatnonzero(synthetic.labels == label), np.flatnonzero(base.labels == label)
        small_real = _small(base.images[real])
        table = _distances(_small(synthetic.images[mine]), small_real)
        nearest[mine], distances[mine] = real[table.argmin(1)], table.min(1)
        if len(real) > 1:
            own = _distances(small_real, small_real)
            np.fill_diagonal(own, np.inf)
            between += own.min(1).tolist()
    columns = [_column(synthetic, i, base.images[nearest[i]]) for i in shown]
    picture = np.concatenate(columns, 1)
    write_png(path, picture)
    return Gallery(
        defects=tuple(synthetic.classes[synthetic.labels[i]] for i in shown),
        distances=tuple(round(float(distances[i]), 3) for i in shown),
        typical=round(float(np.median(distances)), 3),
        real=round(float(np.median(between)), 3) if between else None,
    )


def _column(synthetic: LabelledArrays, i: int, real: Pixels) -> Pixels:
    assert synthetic.masks is not None
    image = _tile(synthetic.images[i])
    outlined = image.copy()
    mask = cv2.resize(synthetic.masks[i], (_TILE, _TILE), interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, contours, -1, (0, 255, 255), 1)
    gap = np.full((_GAP, _TILE, 3), 255, np.uint8)
    column = np.concatenate([image, gap, outlined, gap, _tile(real)])
    return np.pad(column, ((0, 0), (0, _GAP), (0, 0)), constant_values=255)


def _tile(image: Pixels) -> Pixels:
    how = cv2.INTER_AREA if image.shape[0] > _TILE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (_TILE, _TILE), interpolation=how), dtype=np.uint8)


def _small(images: Pixels) -> NDArray[np.float32]:
    return np.stack([cv2.resize(i, (_SMALL_SIDE, _SMALL_SIDE), interpolation=cv2.INTER_AREA) for i in images]).astype(
        np.float32
    )


def _distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """RMS difference of each pair, [N, M]."""
    first, second = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1) - 2 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(squares, 0) / first.shape[1]))
