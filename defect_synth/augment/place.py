"""The given image, as far as placing a defect needs it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.area import Area


@dataclass(frozen=True)
class Place:
    """Where things are in the given image.

    Attributes:
        objects: The object.
        allowed: Where a defect may be.
        appearance: What the image looks like, see `bank.appearance`.
    """

    objects: Area
    allowed: Area
    appearance: NDArray[np.float32]
