"""Where a defect can be: boxes around the parts of a mask, and what a block can change when only they changed.

Eq. 1 leaves everything outside the mask as it is, so one image's defect is painted box by box onto the features of the
defect-free image.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_CELL = 4  # pixels of the first residual resolution; parts nearer than this share a box
_REACH = 4  # pixels that one block's up-convolution, filter and convolution carry a change, at its own resolution
_MARGIN = 3  # pixels of the block's input beyond half of its output box that the box depends on


class Box(NamedTuple):
    """Rows top..bottom and columns left..right of a map, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, map_: Tensor) -> Tensor:
        """This part of [N, C, H, W]."""
        return map_[:, :, self.top : self.bottom, self.left : self.right]

    def after_block(self, size: int) -> Box:
        """What a block of side `size` can change when this much of its input changed."""
        top, left = (max(0, 2 * side - _REACH) for side in (self.top, self.left))
        bottom, right = (min(size, 2 * side + _REACH) for side in (self.bottom, self.right))
        return Box(top, bottom, left, right)

    def read_by_block(self, size: int) -> Box:
        """What a block reads of its input of side `size` to give this part of its output."""
        top, left = (max(0, side // 2 - _MARGIN) for side in (self.top, self.left))
        bottom, right = (min(size, -(-side // 2) + _MARGIN) for side in (self.bottom, self.right))
        return Box(top, bottom, left, right)

    def doubled(self) -> Box:
        """The same part of a map twice as large."""
        return Box(*(2 * side for side in self))

    def inside(self, outer: Box) -> Box:
        """This box counted from the corner of `outer`."""
        return Box(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)


def boxes(gates: list[Tensor]) -> list[Box]:
    """Boxes at the resolution of the first gate that hold every pixel that is open in any gate.

    Args:
        gates: Boolean [1, 1, r, r], [1, 1, 2r, 2r], ...
    """
    size = gates[0].shape[2]
    cells = torch.zeros(1, 1, size // _CELL, size // _CELL)
    for gate in gates:
        cells = torch.maximum(cells, F.max_pool2d(gate.float(), gate.shape[2] // cells.shape[2]))
    found = []
    count, _, stats, _ = cv2.connectedComponentsWithStats(cells[0, 0].numpy().astype(np.uint8), connectivity=8)
    for left, top, width, height, _area in stats[1:count].tolist():
        found.append(Box(top * _CELL, (top + height) * _CELL, left * _CELL, (left + width) * _CELL))
    # Boxes overlap once their surroundings are read too: a scattered mask is cheaper in one piece.
    if sum((box.bottom - box.top + 2 * _MARGIN) * (box.right - box.left + 2 * _MARGIN) for box in found) > size * size:
        return [Box(0, size, 0, size)]
    return found
