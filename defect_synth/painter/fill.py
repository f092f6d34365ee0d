"""Where a donor ends within the mask that it is laid under: its texture goes on beyond its border."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_SOFT = 5  # pixels across, of what is taken off a donor's border where it does not reach its mask's
_RAGGED = 3.0  # pixels that a border is smoothed over where a donor is mirrored in it


def filled(view: Pixels, picture: Pixels, mask: NDArray[np.bool_], there: NDArray[np.bool_]) -> tuple[float, Pixels]:
    """Lay a picture's defect on a view.

    Args:
        view: uint8 [H, W, 3].
        picture: A real defect with what lies around it, uint8 [H, W, 3].
        mask: Where the defect shall be, [H, W], not empty.
        there: Where `picture` has it, [H, W].

    Returns:
        Share of the mask that the picture's defect covers by itself, and uint8 [H, W, 3]: `view` outside the mask, the
        defect in it; beyond the defect's own border its texture goes on as in a mirror.
    """
    out = view.copy()
    both = mask & there
    if not both.any():
        out[mask] = picture[mask]
        return 0.0, out
    np.copyto(out, picture, where=both[:, :, None])
    rest = mask & ~there
    if rest.any():
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        part = slice(y, y + height), slice(x, x + width)
        # The outermost pixels are half the other image's: they would draw the donor's old border into the mask.
        core = both[part]
        if _depth(core) > _SOFT:  # a thin one is all border
            core = core & (cv2.dilate(rest[part].astype(np.uint8), np.ones((_SOFT, _SOFT), np.uint8)) == 0)
        bare = mask[part] & ~core
        np.copyto(out[part], _mirrored(picture[part], core, bare), where=bare[:, :, None])
    return float(both.sum() / mask.sum()), out


def _depth(shape: NDArray[np.bool_]) -> float:
    """From the border of a shape to its deepest pixel; what lies beyond the picture is not in it."""
    framed = cv2.copyMakeBorder(shape.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return float(cv2.distanceTransform(framed, cv2.DIST_L2, 5).max())


def _mirrored(picture: Pixels, both: NDArray[np.bool_], rest: NDArray[np.bool_]) -> Pixels:
    """What the pixels of `rest` see of `picture` in the border of `both` as in a mirror; no matter what elsewhere.

    A border of pixels is ragged, and what is seen in it would be noise: the way to it is smoothed. Where there is
    nothing to see, the border's own pixels are.
    """
    _, labels = cv2.distanceTransformWithLabels(
        (~both).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(int(labels.max()) + 1, np.int64)
    index[labels[both]] = np.flatnonzero(both)
    nearest = index[labels]
    ys, xs = np.nonzero(rest)
    near_y, near_x = np.divmod(nearest[rest], both.shape[1])
    way = np.zeros((*both.shape, 3), np.float32)
    way[ys, xs] = np.stack([near_x - xs, near_y - ys, np.ones_like(xs)], axis=1)
    way = cv2.GaussianBlur(way, (0, 0), _RAGGED, borderType=cv2.BORDER_CONSTANT)[ys, xs]
    across = np.zeros((*both.shape, 2), np.float32)
    across[ys, xs] = np.stack([xs, ys], axis=1) + 2 * way[:, :2] / way[:, 2:]
    whole = picture.reshape(-1, 3)[nearest]
    seen: Pixels = cv2.remap(whole, across, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return seen
