"""The interface between the augmenter and the two ways to make a defect: pasting a recorded one and painting one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.image_context import ImageContext
from defect_synth.compositor.paste import DefectPatch
from defect_synth.product.arrangement import Arrangement
from defect_synth.samples import Pixels


@dataclass(frozen=True, eq=False)
class InsertionRequest:
    """The defect that is wanted.

    Attributes:
        defect: Defect category.
        severity: Above 0; 1 is the defect as recorded or as painted.
        mask: uint8 [H, W]: the defect must have this shape; None: any shape.
        at: (x, y) of the centre of the defect in pixels; None: anywhere that is allowed.
    """

    defect: str
    severity: float
    mask: Pixels | None = None
    at: tuple[float, float] | None = None


class Insertion(NamedTuple):
    """A defect that was made.

    Attributes:
        patch: The window of the image with the defect.
        parameters: The random choices, as JSON values.
    """

    patch: DefectPatch
    parameters: dict[str, Any]


class DefectInserter(Protocol):
    """Puts one defect into an image. `PasteInserter` and `PaintInserter` are the two implementations."""

    @property
    def arrangement(self) -> Arrangement | None:
        """How the products of the source lie in their images; None: the source does not know."""
        ...

    def insert(
        self,
        image: NDArray[Any],
        context: ImageContext,
        request: InsertionRequest,
        rng: np.random.Generator,
        attempt: int,
    ) -> Insertion | None:
        """Try once to put a defect into the image.

        Args:
            image: uint8 or float in [0, 1], [H, W], [H, W, 1] or [H, W, 3]; not changed.
            context: Where the object is, and where a defect may be.
            request: The defect that is wanted.
            rng: The source of all random choices.
            attempt: Number of earlier attempts at the same request.

        Returns:
            The defect, or None if it does not fit or would not be visible.
        """
        ...
