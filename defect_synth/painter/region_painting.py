"""Painting one defect into the region of an image that a mask marks.

NumPy and OpenCV only. The network is a function, so that torch and onnxruntime paint alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import CheckpointError
from defect_synth.painter.appearance import appearance_of_one, recolour_one
from defect_synth.painter.blending import blend, extend_values
from defect_synth.painter.codes import PaintingCodes, draw_codes
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.donor_matching import Costs
from defect_synth.painter.donors import MIN_COVERAGE, DonorBank
from defect_synth.painter.quality_check import PaintingLimits, colour_statistics, fine_detail
from defect_synth.painter.window import computed_part, resize, split_mask, window_around
from defect_synth.product.exemplar import relative_scale
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]

_ATTEMPTS = 3
_MAX_FREE_ENLARGEMENT = 1.5  # pixels of the image per pixel of the view beyond which free paintings would be blurred
_STREAM = 0x9A17  # separates these random numbers from those of the mask


@dataclass(frozen=True, eq=False)
class NetworkInput:
    """What the network is asked to paint: float32 arrays with a leading axis of 1.

    S is the side of the computed part of the view, see `computed_part`.

    Attributes:
        view: Signal, [1, 3, S, S].
        mask: 0 or 1, [1, 1, S, S].
        donor: Signal, [1, 3, S, S].
        has_donor: 1 if the painting starts from the donor, 0 if it is free, [1].
        codes: The free part of the painting.
        defect: One-hot, [1, number of defects].
    """

    view: Floats
    mask: Floats
    donor: Floats
    has_donor: Floats
    codes: PaintingCodes[Floats]
    defect: Floats


PaintingNetwork = Callable[[NetworkInput], tuple[Floats, Floats]]
"""Input -> colour [1, 3, S, S] (signal) and opacity [1, 1, S, S] (0 to 1, 0 outside the mask)."""


@dataclass(frozen=True, eq=False)
class _Region:
    """One part of a mask, which all attempts paint.

    Attributes:
        image: The window, uint8 [w, w, 3].
        mask: Its mask, uint8 [w, w] in {0, 1}, not empty.
        view: The window as a view, uint8 [side, side, 3].
        view_mask: Its mask, uint8 [side, side], not empty.
        costs: How badly each donor pose suits the view.
        scale: Pixels of the view per pixel of the training images.
    """

    image: Pixels
    mask: Pixels
    view: Pixels
    view_mask: Pixels
    costs: Costs
    scale: float


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A painted window, uint8 [w, w, 3], equal to the image outside the mask, and the detail it lacks, see `blur`."""

    image: Pixels
    blur: float


@dataclass(frozen=True, eq=False)
class RegionPainter:
    """Paints one defect category.

    Attributes:
        network: The trained network.
        model: Its sizes.
        donors: The donors of the defect.
        limits: Colours and detail that paintings should have.
        label: Index of the defect.
        num_defects: Number of defects that the network knows.
        reference: Longer side of the training images, in pixels.
        donor_prob: How likely an attempt starts from a donor.
        grey: The product has no colour, so the painting must have none.
    """

    network: PaintingNetwork
    model: PainterModelConfig
    donors: DonorBank
    limits: PaintingLimits
    label: int
    num_defects: int
    reference: int
    donor_prob: float
    grey: bool = False

    def paint(self, image: Pixels, mask: Pixels, defect: str, seed: int) -> Pixels:
        """Paint the defect into a mask.

        Args:
            image: uint8 [H, W, 3].
            mask: uint8 [H, W] in {0, 1}, not empty.
            defect: Name of the defect category, a part of the seed.
            seed: 0 or more.

        Returns:
            uint8 [H, W, 3], equal to `image` outside the mask.

        Raises:
            CheckpointError: The network gives NaN or infinity in all attempts.
        """
        scale = relative_scale(image.shape, self.reference)
        out = image.copy()
        key = (seed, zlib.crc32(defect.encode()), _STREAM)
        for number, part in enumerate(split_mask(mask, self.model.side, scale)):
            window = window_around(part, self.model.side, scale)
            region = self._region(window.cut(out, window.size), window.cut(part, window.size), scale)
            window.paste(self._best_attempt(region, (*key, number)), out)
        return out

    def _region(self, image: Pixels, mask: Pixels, scale: float) -> _Region:
        side = self.model.side
        view, view_mask = resize(image, side), resize(mask, side)
        if not view_mask.any():  # the mask is a dot that falls between the pixels of the view
            view_mask = (resize(mask.astype(np.float32)[:, :, None], side).reshape(side, side) > 0).astype(np.uint8)
        costs = self.donors.matcher.costs(view, view_mask)
        return _Region(image, mask, view, view_mask, costs, side / len(image) * scale)

    def _best_attempt(self, region: _Region, key: tuple[int, ...]) -> Pixels:
        """The first attempt that passes the quality check, or the one that misses it least: uint8 [w, w, 3]."""
        best, least = None, np.inf
        for number in range(_ATTEMPTS):
            last = number == _ATTEMPTS - 1
            attempt = self._attempt(region, np.random.default_rng((*key, number)), last)
            if attempt is None:
                continue
            excess = self.limits.excess(colour_statistics(attempt.image, region.mask)) + attempt.blur
            if excess < least:
                best, least = attempt.image, excess
            if excess == 0:
                break
        if best is None:
            raise CheckpointError(
                "the painter gives NaN or infinity instead of colours: its training was too short or diverged; "
                "train again with more --minutes or another --seed"
            )
        return best

    def _attempt(self, region: _Region, rng: np.random.Generator, last: bool) -> _Attempt | None:
        """Paint a region once; None if the network gives NaN or infinity, as a hardly trained one may.

        The last attempt starts from a donor where one fits, unless `donor_prob` is 0: two others have failed.
        """
        side, size = self.model.side, len(region.image)
        donor_prob = 1.0 if last and self.donor_prob > 0 else self.donor_prob
        from_donor = bool(rng.random() < donor_prob) or size > _MAX_FREE_ENLARGEMENT * side
        choice = self.donors.matcher.select(region.costs, rng)
        part = computed_part(region.view_mask)
        view, mask = np.ascontiguousarray(region.view[part]), np.ascontiguousarray(region.view_mask[part])
        fitted = self.donors.fit(view, mask, choice, scale=region.scale)
        from_donor = from_donor and fitted.coverage >= MIN_COVERAGE
        noise = rng.standard_normal(5, dtype=np.float32)
        if self.grey:
            noise[3:] = noise[2]
        donor = recolour_one(_signal(fitted.image), mask, noise)
        colour, opacity = self._run_network(view, mask, donor, from_donor, rng)
        if not (np.isfinite(colour).all() and np.isfinite(opacity).all()):
            return None
        if self.grey:
            colour = np.repeat(colour.mean(axis=2, keepdims=True), 3, axis=2)
        painted, blur = None, 0.0
        if not from_donor:  # a donor brings its own detail
            painted = blend(view, mask, colour, opacity)
            donor_detail = fine_detail(fitted.image, mask) if fitted.coverage >= MIN_COVERAGE else 0.0
            blur = self.limits.blur(fine_detail(painted, mask), donor_detail)
        if size == side:
            out = region.image.copy()
            out[part] = blend(view, mask, colour, opacity) if painted is None else painted
            return _Attempt(out, blur)

        def enlarged(values: Floats) -> Floats:
            whole = np.zeros((side, side, values.shape[2]), np.float32)
            whole[part] = extend_values(values, mask)
            return resize(whole, size).reshape(size, size, -1)

        if from_donor:
            # The donor in the resolution of the image, changed by what the network changed in that of the view.
            fine = self.donors.fit(region.image, region.mask, choice, scale=region.scale * size / side).image
            colour = recolour_one(_signal(fine), region.mask, noise) + enlarged(colour - donor)
        else:
            colour = enlarged(colour)
        return _Attempt(blend(region.image, region.mask, colour, enlarged(opacity)), blur)

    def _run_network(
        self, view: Pixels, mask: Pixels, donor: Floats, from_donor: bool, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Colour [S, S, 3] (signal) and opacity [S, S, 1] of one painting with random codes."""

        def draw(*shape: int) -> Floats:
            return rng.standard_normal(shape, dtype=np.float32)

        model, side = self.model, len(view)
        defect = np.zeros((1, self.num_defects), np.float32)
        defect[0, self.label] = 1
        codes = draw_codes(
            draw, appearance_of_one(donor, mask)[None], side, side,
            z_dim=model.z_dim, map_channels=model.map_channels, grain=model.grain > 0 and not from_donor,
        )  # fmt: skip
        colour, opacity = self.network(NetworkInput(
            view=_planes(_signal(view)), mask=mask.astype(np.float32)[None, None], donor=_planes(donor),
            has_donor=np.array([from_donor], np.float32), codes=codes, defect=defect,
        ))  # fmt: skip
        return np.moveaxis(colour[0], 0, 2), np.moveaxis(opacity[0], 0, 2)


def _signal(image: Pixels) -> Floats:
    """`samples.pixels_to_signal` without torch: uint8 -> float32 in [-1, 1]."""
    out: Floats = image.astype(np.float32) / np.float32(127.5) - 1
    return out


def _planes(image: Floats) -> Floats:
    """[H, W, C] -> [1, C, H, W]."""
    return np.ascontiguousarray(np.moveaxis(image, 2, 0))[None]
