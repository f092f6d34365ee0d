"""Contact sheets: samples in one picture, to look at while a model trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from defect_synth.data.png import write_png


def save_grid(path: Path, images: Tensor, columns: int) -> None:
    """Write images side by side as one PNG of [rows * R, columns * R] pixels; empty places are dark.

    Args:
        path: The file to write.
        images: uint8 [N, 3 or 1, R, R].
        columns: Images in a row.

    Raises:
        OutputError: The file cannot be written.
    """
    pixels = images.permute(0, 2, 3, 1).numpy()
    if pixels.shape[3] == 1:
        pixels = np.repeat(pixels, 3, axis=3)
    rows = -(-len(pixels) // columns)
    side = pixels.shape[1]
    sheet = np.full((rows * side, columns * side, 3), 32, np.uint8)
    for i, image in enumerate(pixels):
        y, x = divmod(i, columns)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = image
    write_png(path, sheet)
