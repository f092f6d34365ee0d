"""One painting: view, donor, codes, network, quality gate, and back into the image at its own resolution.

NumPy and OpenCV only; the network is a function, so torch and onnxruntime paint alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import CheckpointError
from defect_synth.painter.appearance import appearance_of_one, recolour_one
from defect_synth.painter.codes import PaintingCodes, draw_codes
from defect_synth.painter.donors import LEAST_COVERED, Costs, DonorBank
from defect_synth.painter.quality_check import Gate, detail, statistics
from defect_synth.painter.window import clusters, focus, resize, window_of
from defect_synth.product.exemplar import relative_scale
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]

_TRIES = 3
_LENS = 0.8  # pixels of the image, standard deviation of its blur
_BLURRED = 1.5  # image pixels for one of the view from which on only donors have the detail
_SEED = 0x9A17


@dataclass(frozen=True, eq=False)
class Request:
    """What a network is asked to paint, all float32 with a leading axis of 1.

    S is the side of the view or of the part of it that is computed, see `painter_window.focus`.

    Attributes:
        view: Signal, [1, 3, S, S].
        mask: 0 or 1, [1, 1, S, S].
        donor: Signal, [1, 3, S, S].
        has_donor: 1 where the donor counts, [1].
        codes: What is free.
        defect: One-hot, [1, number of defects].
    """

    view: Floats
    mask: Floats
    donor: Floats
    has_donor: Floats
    codes: PaintingCodes[Floats]
    defect: Floats


Network = Callable[[Request], tuple[Floats, Floats]]
"""Request -> colour [1, 3, S, S] (signal) and opacity [1, 1, S, S] (0 outside the mask)."""


@dataclass(frozen=True)
class Sizes:
    """Of the network: side of views, length of z, channels of the maps, number of defects, whether it wants grain."""

    side: int
    z_dim: int
    map_channels: int
    num_defects: int
    grain: bool


@dataclass(frozen=True, eq=False)
class _Scene:
    """What all attempts at one window share: it and its mask [w, w], both as a view, what donors cost in it, and
    pixels of the view for one of the reference images.
    """

    ground: Pixels
    inside: Pixels
    view: Pixels
    seen: Pixels
    costs: Costs
    scale: float


@dataclass(frozen=True, eq=False)
class Brush:
    """What paints one defect.

    Attributes:
        network: The trained network.
        sizes: Its sizes.
        bank: The defect's donors.
        gate: The defect's colours.
        label: The defect's index.
        reference: Longer side of the images that the painter learnt from.
        donor_prob: How likely an attempt starts from a real defect.
        grey: Paint without colour, as the product is.
    """

    network: Network
    sizes: Sizes
    bank: DonorBank
    gate: Gate
    label: int
    reference: int
    donor_prob: float
    grey: bool = False

    def paint(self, image: Pixels, mask: Pixels, name: str, seed: int) -> Pixels:
        """A copy of `image` with the defect in `mask` (not empty); see `Painter.paint`.

        Raises:
            CheckpointError: The network draws no numbers.
        """
        side = self.sizes.side
        density = relative_scale(image.shape, self.reference)
        out = image.copy()
        key = (seed, zlib.crc32(name.encode()), _SEED)
        for number, part in enumerate(clusters(mask, side, density)):
            window = window_of(part, side, density)
            ground = window.cut(out, window.size)
            inside = window.cut(part, window.size)
            view, seen = _seen(ground, inside, side)
            scene = _Scene(ground, inside, view, seen, self.bank.costs(view, seen), side / window.size * density)
            best, least = None, np.inf
            for attempt in range(_TRIES):
                last = attempt == _TRIES - 1
                tried = self._attempt(scene, np.random.default_rng((*key, number, attempt)), last)
                if tried is None:
                    continue
                made, blur = tried
                excess = self.gate.excess(statistics(made, inside)) + blur
                if excess < least:
                    best, least = made, excess
                if excess == 0:
                    break
            if best is None:
                raise CheckpointError(
                    "the painter draws no numbers but NaN or infinity: its training was too short or diverged; "
                    "train again with more --minutes or another --seed"
                )
            window.lay(out, best)
        return out

    def _attempt(self, scene: _Scene, rng: np.random.Generator, last: bool) -> tuple[Pixels, float] | None:
        """Paint a window: uint8 [w, w, 3], its ground changed inside the mask only, and how blurred it is to the gate.

        The last attempt is made from a donor where one fits, if any may be: two others were refused.

        None: the network drew something that is no number, as one that is hardly trained may.
        """
        ground, inside, view, seen, scale = scene.ground, scene.inside, scene.view, scene.seen, scene.scale
        side, size = self.sizes.side, ground.shape[0]
        share = 1.0 if last and self.donor_prob > 0 else self.donor_prob
        from_donor = bool(rng.random() < share) or size > _BLURRED * side
        choice = self.bank.pick(scene.costs, rng)
        focused = focus(seen)
        view, seen = np.ascontiguousarray(view[focused]), np.ascontiguousarray(seen[focused])
        laid = self.bank.lay(view, seen, choice, scale=scale)
        from_donor = from_donor and laid.covered >= LEAST_COVERED
        noise = rng.standard_normal(5, dtype=np.float32)
        if self.grey:
            noise[3:] = noise[2]
        donor = recolour_one(_signal(laid.picture), seen, noise)
        colour, opacity = self._ask(view, seen, donor, from_donor, rng)
        if not (np.isfinite(colour).all() and np.isfinite(opacity).all()):
            return None
        if self.grey:
            colour = np.repeat(colour.mean(axis=2, keepdims=True), 3, axis=2)
        drawn, blur = None, 0.0
        if not from_donor:  # a donor brings its own detail
            drawn = _mixed(view, seen, colour, opacity)
            wanted = detail(laid.picture, seen) if laid.covered >= LEAST_COVERED else 0.0
            blur = self.gate.blur(detail(drawn, seen), wanted)
        if size == side:
            out = ground.copy()
            out[focused] = _mixed(view, seen, colour, opacity) if drawn is None else drawn
            return out, blur

        def enlarged(values: Floats) -> Floats:
            whole = np.zeros((side, side, values.shape[2]), np.float32)
            whole[focused] = _spread(values, seen)
            return resize(whole, size).reshape(size, size, -1)

        if from_donor:
            # The donor in the image's own resolution, and what the network changes about it from the view's.
            fine = self.bank.lay(ground, inside, choice, scale=scale * size / side).picture
            colour = recolour_one(_signal(fine), inside, noise) + enlarged(colour - donor)
        else:
            colour = enlarged(colour)
        return _mixed(ground, inside, colour, enlarged(opacity)), blur

    def _ask(
        self, view: Pixels, mask: Pixels, donor: Floats, from_donor: bool, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Run the network: colour [S, S, 3] and opacity [S, S, 1]."""
        sizes, side = self.sizes, len(view)

        def draw(*shape: int) -> Floats:
            return rng.standard_normal(shape, dtype=np.float32)

        defect = np.zeros((1, sizes.num_defects), np.float32)
        defect[0, self.label] = 1
        codes = draw_codes(
            draw, appearance_of_one(donor, mask)[None], side, side,
            z_dim=sizes.z_dim, map_channels=sizes.map_channels, grain=sizes.grain and not from_donor,
        )  # fmt: skip
        colour, opacity = self.network(Request(
            view=_planes(_signal(view)), mask=mask.astype(np.float32)[None, None], donor=_planes(donor),
            has_donor=np.array([from_donor], np.float32), codes=codes, defect=defect,
        ))  # fmt: skip
        return np.moveaxis(colour[0], 0, 2), np.moveaxis(opacity[0], 0, 2)


def _seen(ground: Pixels, inside: Pixels, side: int) -> tuple[Pixels, Pixels]:
    """A window and its mask (not empty) as views of a side."""
    view, seen = resize(ground, side), resize(inside, side)
    if not seen.any():  # a dot between the pixels of the view
        seen = (resize(inside.astype(np.float32)[:, :, None], side).reshape(side, side) > 0).astype(np.uint8)
    return view, seen


def _mixed(below: Pixels, mask: Pixels, colour: Floats, opacity: Floats) -> Pixels:
    """A picture [H, W, 3] with a colour (signal) laid on it inside the mask; other pixels are its own."""
    inside = mask > 0
    ground = below[inside].astype(np.float32)
    mixed = ground + opacity[inside] * soft(mask)[inside][:, None] * ((colour[inside] + 1) * 127.5 - ground)
    out = below.copy()
    out[inside] = np.rint(mixed.clip(0, 255)).astype(np.uint8)
    return out


def soft(mask: Pixels) -> Floats:
    """How much of each pixel a mask [H, W] covers, seen through a lens: a little less than 1 along its border.

    A lens blurs every real border; one that ends between two pixels looks glued on. Lines as thin as the blur stay as
    they are: what counts is how much more there is beside a pixel.
    """
    x, y, width, height = cv2.boundingRect(mask)
    out = np.zeros(mask.shape, np.float32)
    window = (slice(max(0, y - 4), y + height + 4), slice(max(0, x - 4), x + width + 4))
    seen = cv2.GaussianBlur(mask[window].astype(np.float32), (0, 0), _LENS, borderType=cv2.BORDER_REPLICATE)
    out[window] = seen / np.maximum(cv2.dilate(seen, np.ones((3, 3), np.uint8)), 1e-6)
    return out


def _signal(picture: Pixels) -> Floats:
    out: Floats = picture.astype(np.float32) / np.float32(127.5) - 1
    return out


def _planes(picture: Floats) -> Floats:
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0))[None]


def _spread(values: Floats, mask: Pixels) -> Floats:
    """Values in the mask, repeated a little beyond its border, so that enlarging does not mix in what lies there."""
    weight = mask.astype(np.float32)
    values = values.reshape(*mask.shape, -1) * weight[:, :, None]
    total = cv2.blur(values, (5, 5)).reshape(values.shape)
    share = cv2.blur(weight, (5, 5))[:, :, None]
    out: Floats = np.where(weight[:, :, None] > 0, values, total / np.maximum(share, 1e-6))
    return out
