"""What the placement of a defect needs to know of the given image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.image_region import ImageRegion
from defect_synth.samples import Pixels


@dataclass(frozen=True)
class ImageContext:
    """Where things are in the given image.

    Attributes:
        objects: The region of the object.
        allowed: The region where a defect may be.
        appearance: Mean colours of the image, see `compositor.bank.appearance`.
        small: A small copy of it, uint8 [h, w, 3].
        found: Where the object is in the small copy, bool [h, w].
    """

    objects: ImageRegion
    allowed: ImageRegion
    appearance: NDArray[np.float32]
    small: Pixels
    found: NDArray[np.bool_]
