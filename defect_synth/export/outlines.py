"""Convert masks to polygons and run lengths that reproduce the same pixels.

Polygons are traced on a finer grid, where pixels that touch at a corner belong together. Most formats know no holes and
no parts, so that holes, and parts of one instance, are tied to the rest of a polygon by bridges: lines that it runs
along twice, there and back, which cover no area and meet no pixel centre.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_FINE = 4  # cells of the finer grid along the side of a pixel
_FINE_LARGE = 2  # the same for masks of more pixels than
_LARGE = 1 << 24
_ENDS = 200  # points of an outline that are considered as the end of a bridge
Ring = list[tuple[float, float]]


def polygons(mask: Pixels) -> list[Ring]:
    """One polygon for each connected part of a mask, where pixels that touch at a corner are connected.

    Together they contain the centre of every defect pixel and of no other pixel.

    Args:
        mask: uint8 [H, W], 1 on the defect.

    Returns:
        Rings of (x, y) in pixels, the highest part first; the centre of the first pixel is at (0.5, 0.5).
    """
    tracing = _trace(mask)
    return [tracing.ring(part) for part in tracing.parts]


def joined_polygon(mask: Pixels) -> Ring:
    """One polygon for the whole mask, whose parts are tied together by bridges; empty for an empty mask."""
    tracing = _trace(mask)
    tracing.tie_parts()
    return tracing.ring(tracing.parts[0]) if tracing.parts else []


@dataclass(frozen=True, eq=False)
class _Tracing:
    """The outlines of a mask.

    Attributes:
        outlines: Cells (x, y) on the border of each part and around each hole, int32 [n, 2], every cell in order.
        parts: Which of them surround parts, the highest part first.
        bridges: Outline -> bridges that leave it: (number of its cell, other outline, number of the cell there).
        origin: x and y of the first cell in pixels.
        fine: Cells along the side of a pixel.
    """

    outlines: list[NDArray[np.int32]]
    parts: list[int]
    origin: tuple[int, int]
    fine: int
    bridges: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)

    def ring(self, part: int) -> Ring:
        """The polygon of a part and of everything that is tied to it."""
        pieces: list[NDArray[np.int32]] = []
        open_outlines = [self._walk(part, 0)]
        while open_outlines:  # no recursion, since thousands of parts may hang on each other
            found = next(open_outlines[-1], None)
            if found is None:
                open_outlines.pop()
            elif isinstance(found, tuple):
                open_outlines.append(self._walk(*found))
            else:
                pieces.append(found)
        cells = _corners(np.concatenate(pieces))
        points = (cells + 0.5) / self.fine + self.origin
        return [(float(x), float(y)) for x, y in points]

    def _walk(self, outline: int, start: int) -> Iterator[NDArray[np.int32] | tuple[int, int]]:
        """Cells of an outline from one back to the same, interrupted by outlines that are to be walked meanwhile."""
        cells = self.outlines[outline]
        count, done = len(cells), 0
        for ahead, other, entry in sorted(((a - start) % count, o, e) for a, o, e in self.bridges.get(outline, ())):
            yield cells[np.arange(start + done, start + ahead + 1) % count]
            here, there = cells[(start + ahead) % count], self.outlines[other][entry]
            corner = np.array([[there[0], here[1]]], np.int32)  # along rows and columns of cells, off pixel centres
            yield corner
            yield other, entry
            yield corner
            done = ahead
        yield cells[np.arange(start + done, start + count + 1) % count]

    def tie(self, outline: int, cell: int, other: int, entry: int) -> None:
        """Make a bridge from a cell of an outline to a cell of another one, which nothing leads to yet."""
        self.bridges.setdefault(outline, []).append((cell, other, entry))

    def tie_parts(self) -> None:
        """Make bridges between neighbouring parts, in rows that are read to and fro."""
        if len(self.parts) < 2:
            return
        middles = np.array([self.outlines[part].mean(axis=0) for part in self.parts])
        rows = max(1, round(len(self.parts) ** 0.5))
        low, high = middles[:, 1].min(), middles[:, 1].max()
        row = np.minimum(((middles[:, 1] - low) / max(1.0, high - low) * rows).astype(int), rows - 1)
        order = np.lexsort((np.where(row % 2, -middles[:, 0], middles[:, 0]), row))
        self.parts[:] = [self.parts[i] for i in order]
        for before, after in zip(self.parts, self.parts[1:], strict=False):
            a, b = (self.outlines[part] for part in (before, after))
            a_step, b_step = (1 + len(cells) // _ENDS for cells in (a, b))
            distance = np.abs(a[::a_step, None] - b[None, ::b_step]).sum(axis=2)
            i, j = np.unravel_index(int(distance.argmin()), distance.shape)
            self.tie(before, int(i) * a_step, after, int(j) * b_step)


def _trace(mask: Pixels) -> _Tracing:
    """The outlines of all parts, with their holes tied to them."""
    x, y, width, height = cv2.boundingRect(mask)
    fine = _FINE if width * height <= _LARGE else _FINE_LARGE
    part = mask[y : y + height, x : x + width]
    cells = np.pad(part.repeat(fine, axis=0).repeat(fine, axis=1), 1)
    if not part.size:
        return _Tracing([], [], (0, 0), fine)
    found, hierarchy = cv2.findContours(cells, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outlines = [np.asarray(contour[:, 0] - 1, np.int32) for contour in found]
    outside = hierarchy[0, :, 3] < 0
    parts = sorted(np.flatnonzero(outside).tolist(), key=lambda i: (outlines[i][:, 1].min(), outlines[i][:, 0].min()))
    tracing = _Tracing(outlines, parts, (x, y), fine)
    _tie_holes(tracing, cells[1:-1, 1:-1], np.flatnonzero(~outside).tolist())
    return tracing


def _tie_holes(tracing: _Tracing, cells: Pixels, holes: Sequence[int]) -> None:
    """Tie each hole to the next outline on its left, which is that of the part or of another hole."""
    if not holes:
        return
    outlines, width = tracing.outlines, cells.shape[1]
    leftmost = {hole: int(outlines[hole][:, 0].argmin()) for hole in holes}
    ordered = sorted(holes, key=lambda hole: (outlines[hole][leftmost[hole]][0], hole))
    rank = np.zeros(len(outlines), np.int64)  # a hole is tied to outlines of lower rank, so that there is no ring
    rank[ordered] = np.arange(1, len(ordered) + 1)
    owner = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
    number = np.concatenate([np.arange(len(outline)) for outline in outlines])
    place = np.concatenate([outline[:, 1].astype(np.int64) * width + outline[:, 0] for outline in outlines])
    by_place = np.argsort(place, kind="stable")
    sorted_places = place[by_place]
    for hole in ordered:
        x, y = (int(value) for value in outlines[hole][leftmost[hole]])
        left = int(np.flatnonzero(cells[y, :x] == 0)[-1]) + 1 if (cells[y, :x] == 0).any() else 0
        first, last = np.searchsorted(sorted_places, [y * width + left, y * width + left + 1])
        there = by_place[first:last]
        best = there[rank[owner[there]].argmin()]
        assert rank[owner[best]] < rank[hole], "a hole has no outline on its left"
        tracing.tie(int(owner[best]), int(number[best]), hole, leftmost[hole])


def _corners(cells: NDArray[np.int32]) -> NDArray[np.int32]:
    """The cells at which a closed walk along rows, columns and diagonals turns."""
    cells = cells[(cells != np.roll(cells, -1, axis=0)).any(axis=1)]
    into = np.sign(cells - np.roll(cells, 1, axis=0))
    turns: NDArray[np.bool_] = (into != np.roll(into, -1, axis=0)).any(axis=1)
    return cells[turns]


def run_lengths(mask: Pixels) -> list[int]:
    """Uncompressed COCO run-length encoding: lengths down the columns, starting with background."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def box(mask: Pixels) -> tuple[int, int, int, int]:
    """Tight box (x, y, width, height) of a mask, as COCO defines it."""
    x, y, width, height = cv2.boundingRect(mask)
    return int(x), int(y), int(width), int(height)
