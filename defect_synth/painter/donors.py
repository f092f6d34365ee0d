"""Donors: real defects that are rotated, scaled, bent and extended to fill a mask. Not in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from defect_synth.painter.donor_matching import DonorChoice, DonorMatcher, mask_geometry
from defect_synth.painter.fill import fill_mask
from defect_synth.painter.registration import register
from defect_synth.painter.window import resample
from defect_synth.product.exemplar import Exemplar
from defect_synth.samples import Pixels

MIN_COVERAGE = 0.5
"""Share of a mask that a donor must cover to be used; below it, the defect is painted freely."""
_SCALES = (0.6, 1.6)  # least and most by which a donor is scaled


@dataclass(frozen=True, eq=False)
class FittedDonor:
    """A view with a donor inside its mask, uint8 [S, S, 3], and the share of the mask that the donor covers."""

    image: Pixels
    coverage: float


class DonorBank:
    """The donors of one defect category.

    Args:
        exemplars: The real defects, at least one.
        num_rotations: Number of rotations in which a donor may lie: 24, 4, 2 or 1.
        can_mirror: Whether a donor may be mirrored.

    Attributes:
        exemplars: The real defects.
        matcher: Says which of them suit a mask.
    """

    def __init__(self, exemplars: Sequence[Exemplar], *, num_rotations: int, can_mirror: bool) -> None:
        assert exemplars
        self.exemplars = tuple(exemplars)
        self.matcher = DonorMatcher(exemplars, num_rotations=num_rotations, can_mirror=can_mirror)

    def fit(self, view: Pixels, mask: Pixels, choice: DonorChoice, *, scale: float = 1.0) -> FittedDonor:
        """Fit the chosen donors to a mask.

        Args:
            view: What the defect goes into, uint8 [S, S, 3].
            mask: uint8 [S, S] in {0, 1}, not empty.
            choice: What the matcher selected for this view, or for the same view in a lower resolution.
            scale: Pixels of this view per pixel of the training images.

        Returns:
            The donors inside the mask, and `view` elsewhere.
        """
        first = self._fit_one(view, mask, choice.first, scale)
        if choice.second is None:
            return first
        second = self._fit_one(view, mask, choice.second, scale)
        if min(first.coverage, second.coverage) < MIN_COVERAGE:
            return first
        size = (mask.shape[1], mask.shape[0])
        share = cv2.resize(choice.seam, size, interpolation=cv2.INTER_CUBIC)[:, :, None]
        mixed = second.image + share.clip(0, 1) * (first.image.astype(np.float32) - second.image)
        return FittedDonor(np.rint(mixed).astype(np.uint8), min(first.coverage, second.coverage))

    def _fit_one(self, view: Pixels, mask: Pixels, pose_index: int, scale: float) -> FittedDonor:
        target = mask_geometry(mask)
        pose = self.matcher.poses[pose_index]
        exemplar, source = self.exemplars[pose.donor], self.matcher.geometries[pose.donor]
        natural = scale / exemplar.scale  # shows the donor in its own size
        growth = float(np.clip(target.radius / source.radius / natural, *_SCALES))
        matrix = pose.matrix(source, target, natural * growth)
        side = mask.shape[0]
        donor = resample(exemplar.image, matrix, side, cubic=True)
        donor_mask = resample(exemplar.mask * np.uint8(255), matrix, side, border=cv2.BORDER_CONSTANT) > 127
        displacement = register(mask, donor_mask.astype(np.uint8))
        if displacement is not None:
            donor, warped = displacement.apply(donor, donor_mask.astype(np.uint8))
            donor_mask = warped > 0
        return FittedDonor(*fill_mask(view, donor, mask.astype(bool), donor_mask))
