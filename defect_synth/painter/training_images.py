"""The images that a painter learns from, and the donors that are cut out of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defect_synth.painter.window import split_mask, window_around
from defect_synth.product.exemplar import Exemplar, relative_scale
from defect_synth.samples import Pixels


@dataclass(frozen=True, eq=False)
class DefectImage:
    """An image with a defect.

    Attributes:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] of 0 and 1, not empty.
        clean: The same object without the defect, uint8 [H, W, 3], where a DFMGAN drew both; None: a real image. Such
            a triplet is an example of a painting and real to the discriminators, but never a donor.
    """

    image: Pixels
    mask: Pixels
    clean: Pixels | None = None


@dataclass(frozen=True, eq=False)
class NormalImage:
    """An image without defect.

    Attributes:
        image: uint8 [H, W, 3].
        foreground: Where the product is, bool [H, W].
        synthetic: Whether a DFMGAN drew it.
    """

    image: Pixels
    foreground: NDArray[np.bool_]
    synthetic: bool = False


def cut_exemplars(images: Sequence[DefectImage], side: int, reference: int) -> list[Exemplar]:
    """The donors of a defect: one for each part of each real mask, at most twice as fine as it will be seen.

    Args:
        images: Of one defect; synthetic ones are left out.
        side: Side of views, in pixels.
        reference: The longer side of a typical training image, in pixels.
    """
    exemplars = []
    for item in images:
        if item.clean is not None:
            continue
        scale = relative_scale(item.mask.shape, reference)
        for part in split_mask(item.mask, side, scale):
            window = window_around(part, side, scale)
            cut_side = min(window.size, 2 * side)
            exemplars.append(
                Exemplar(window.cut(item.image, cut_side), window.cut(part, cut_side), cut_side / window.size * scale)
            )
    return exemplars
