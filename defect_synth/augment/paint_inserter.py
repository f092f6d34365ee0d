"""Put defects into an image by letting a painter paint them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.image_context import ImageContext
from defect_synth.augment.inserter import Insertion, InsertionRequest
from defect_synth.augment.settings import Placement
from defect_synth.compositor import pixels
from defect_synth.compositor.painted_patch import paint_patch, scale_mask
from defect_synth.compositor.transfer import Mode
from defect_synth.errors import ConfigError
from defect_synth.painter.painter_base import PainterBase
from defect_synth.product.arrangement import Arrangement
from defect_synth.samples import DefectPainter, Pixels


class PaintInserter:
    """A `DefectInserter` that uses a painter; see `DefectAugmenter` for the settings.

    Raises:
        ConfigError: A setting that applies to pasted defects only.
    """

    def __init__(
        self, painter: DefectPainter, scale: tuple[float, float], placement: Placement, mirror: bool, mode: Mode
    ) -> None:
        for name, value, default in (("mode", mode, "auto"), ("mirror", mirror, True)):
            if value != default:
                raise ConfigError(
                    f"{name}={value!r} is for pasted defects; the source is a painter, which has no {name}: leave it "
                    "out, or record a bank of the painter with `defect-synth bank`"
                )
        if placement == "aligned":
            raise ConfigError(
                "placement='aligned' is for pasted defects; a painter has learnt where its defects occur: use "
                "placement='auto', or region= to say where"
            )
        self.painter, self.scale = painter, scale

    @property
    def arrangement(self) -> Arrangement | None:
        """How the products of the painter lie; None: it is not of this package."""
        return self.painter.arrangement if isinstance(self.painter, PainterBase) else None

    def insert(
        self,
        image: NDArray[Any],
        context: ImageContext,
        request: InsertionRequest,
        rng: np.random.Generator,
        attempt: int,
    ) -> Insertion | None:
        """See `DefectInserter.insert`."""
        seed = int(rng.integers(2**31))
        mask = self._mask(image, context, request, seed, rng)
        if mask is None or not mask.any():
            return None
        patch = paint_patch(self.painter, image, mask, request.defect, seed, request.severity)
        return None if patch is None else Insertion(patch, {"seed": seed})

    def _mask(
        self,
        image: NDArray[Any],
        context: ImageContext,
        request: InsertionRequest,
        seed: int,
        rng: np.random.Generator,
    ) -> Pixels | None:
        """Where to paint, uint8 [H, W]; None or empty if the defect does not fit."""
        inside = context.allowed.weight((0, 0, *context.allowed.shape)) > 0.5
        if request.mask is not None:
            return np.asarray((request.mask > 0) & inside, np.uint8)
        if not inside.any():
            return None
        # With a given position the painter need not look for a place that suits the defect.
        looked_at = None if request.at is not None else pixels.to_rgb(image)
        mask = self.painter.propose_mask(request.defect, inside, seed, image=looked_at)
        if request.at is not None:
            mask = np.asarray(_moved(mask, request.at) & inside.astype(np.uint8), np.uint8)
        elif context.allowed is not context.objects:  # a region of the user's is kept, even where defects overhang
            mask = mask & inside.astype(np.uint8)
        if not mask.any():
            return None
        return scale_mask(mask, float(np.exp(rng.uniform(*np.log(self.scale)))), inside)


def _moved(mask: Pixels, at: tuple[float, float]) -> Pixels:
    """Shift `mask` so that the centre of its box is at (x, y)."""
    x, y, width, height = cv2.boundingRect(mask)
    dx, dy = round(at[0] - (x + (width - 1) / 2)), round(at[1] - (y + (height - 1) / 2))
    return np.asarray(
        cv2.warpAffine(mask, np.array([[1.0, 0, dx], [0, 1, dy]]), mask.shape[::-1], flags=cv2.INTER_NEAREST)
    )
