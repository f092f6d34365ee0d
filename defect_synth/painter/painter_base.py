"""What every painter can do, whichever library runs its network. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import CheckpointError, ConfigError, DataError, UnknownDefectError
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.product_assets import ProductAssets
from defect_synth.painter.region_painting import PaintingNetwork, RegionPainter
from defect_synth.product.arrangement import Arrangement
from defect_synth.product.foreground import find_foreground
from defect_synth.product.pose import Part, choose_part
from defect_synth.product.recent_images import RecentImages
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import DefectSample, Pixels, Provenance

DONOR_PROB = 0.9
"""How likely an attempt starts from a real defect: such paintings look more real and cover more real defects."""

_MOST_APART = 4  # ratio of the sides of typical training images and of the normal images in the file
_PARTS_KEPT = 16  # images whose poses are remembered

PAINTING_VERSION = 8
"""Raised whenever the same checkpoint paints other bytes than before."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class PainterDescription:
    """What a trained painter paints.

    Attributes:
        category: Object category.
        defects: Defect categories in the order of their labels.
        reference: The longer side of a typical training image, in pixels.
        model: Sizes of the networks.
    """

    category: str
    defects: tuple[str, ...]
    reference: int
    model: PainterModelConfig


class PainterBase:
    """A `DefectPainter`, and on its own normal images a `DefectSource`: everything but the network.

    A result depends on the checkpoint and the arguments only. Each image is computed on one thread, several images at
    a time, so neither the batch size nor the number of threads can change a byte. Workers of a `DataLoader` open the
    file again instead of receiving the weights.

    Args:
        path: What the painter was opened from, the first argument of the subclass.
        description: What it paints.
        assets: What it knows of the product.
        network: Draws one part of an image.
        weights: Identifies the network's weights and how they are computed.
        normals: Images uint8 [H, W, 3] to paint on as a source; None: those of `assets`.
        donor_prob: How likely an attempt at a painting starts from a real defect; unless it is 0, the third attempt
            always does where one fits. None: `DONOR_PROB`.

    Attributes:
        digest: Identifies what the painter gives for a seed; features of samples are cached by it.

    Raises:
        CheckpointError: `description` contradicts `assets`.
        ConfigError: `donor_prob` is not in 0..1.
    """

    method = "painter"

    def __init__(
        self,
        path: Path,
        description: PainterDescription,
        assets: ProductAssets,
        network: PaintingNetwork,
        weights: str,
        *,
        normals: Sequence[Pixels] | None,
        donor_prob: float | None,
    ) -> None:
        if donor_prob is not None and not 0 <= donor_prob <= 1:
            raise ConfigError(f"donor_prob must lie in [0, 1], got {donor_prob}")
        sides = [max(image.shape[:2]) for image, _ in assets.normals]
        if sides and not 1 / _MOST_APART <= float(np.median(sides)) / description.reference <= _MOST_APART:
            raise CheckpointError(
                f"{path} is damaged: its card says that training images have {description.reference} px, but the "
                f"normal images in it have {np.median(sides):g}; train it again"
            )
        self.path, self.description = path, description
        self.digest = _digest(weights, donor_prob, normals)
        self._options: dict[str, Any] = {"normals": normals, "donor_prob": donor_prob}
        self._parameters = {} if donor_prob is None else {"donor_prob": donor_prob}
        model, defects, reference = description.model, description.defects, description.reference
        self._masks, self._surroundings = assets.masks, assets.surroundings(model.side, reference)
        self._finder, self._parts = assets.poses, RecentImages(self._find_parts, _PARTS_KEPT)
        share = DONOR_PROB if donor_prob is None else float(donor_prob)
        self._region_painters = {
            name: RegionPainter(
                network, model, assets.donors[name], assets.limits[name], label, len(defects), reference, share,
                grey=assets.grey,
            )
            for label, name in enumerate(defects)
        }  # fmt: skip
        self._normals: list[tuple[Pixels, NDArray[np.bool_]]] = (
            list(assets.normals) if normals is None else [(image, find_foreground(image)) for image in normals]
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._options), (self.path,)

    @property
    def category(self) -> str:
        """Object category."""
        return self.description.category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self.description.defects

    @property
    def symmetry(self) -> Symmetry:
        """How the product may be moved and still look like itself."""
        return self._masks.symmetry

    @property
    def arrangement(self) -> Arrangement:
        """How the products lie in their images."""
        return Arrangement(self.symmetry, self._finder)

    def propose_mask(
        self, defect: str, foreground: NDArray[np.bool_], seed: int, image: Pixels | None = None
    ) -> Pixels:
        """A new mask for a defect: uint8 [H, W] of 0 and 1, not empty.

        It is inside `foreground` [H, W], unless real defects of this category overhang.

        Args:
            defect: One of `defects`.
            foreground: Where the product is, bool [H, W].
            seed: 0 or more.
            image: The product, uint8 [H, W, 3]. If products do not lie alike, the mask is placed by how this one lies,
                or, where that cannot be found, where the image looks as it does around real defects of this category.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: The foreground is empty, or `image` is no image or of another size.
            ConfigError: A negative seed.
        """
        self._require(defect, [seed])
        if image is not None:
            _require_image(image)
            if image.shape[:2] != foreground.shape:
                raise DataError(
                    f"foreground must be {list(image.shape[:2])} like its image, got {list(foreground.shape)}"
                )
        return self._propose(defect, foreground, seed, image)

    def _propose(self, defect: str, foreground: NDArray[np.bool_], seed: int, image: Pixels | None) -> Pixels:
        places = self._surroundings
        weights = None if image is None or places is None else places.weights(defect, image)
        if image is None or self._finder is None:
            return self._masks.propose(defect, foreground, seed, weights)
        part = choose_part(self._parts(image), seed)
        on_part = foreground & part.foreground
        return self._masks.propose(defect, on_part if on_part.any() else foreground, seed, weights, part.pose)

    def _find_parts(self, image: Pixels) -> list[Part]:
        """The parts in an image, found in the image itself: a given foreground may be a region of a part only."""
        assert self._finder is not None
        return self._finder.find_all(image, find_foreground(image))

    def paint(self, image: Pixels, mask: Pixels, defect: str, seed: int) -> Pixels:
        """A copy of `image` with the defect inside `mask`, equal to it elsewhere.

        Args:
            image: uint8 [H, W, 3], any size and aspect.
            mask: uint8 [H, W] of 0 and 1; an empty one gives the image back.
            defect: One of `defects`.
            seed: 0 or more.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: Image and mask do not fit each other.
            ConfigError: A negative seed.
        """
        return self.paint_many([image], [mask], defect, [seed])[0]

    def paint_many(
        self, images: Sequence[Pixels], masks: Sequence[Pixels], defect: str, seeds: Sequence[int]
    ) -> list[Pixels]:
        """`paint` for several images, on several threads; the bytes are the same.

        Raises:
            ConfigError: Lists of different lengths, or a negative seed.
            UnknownDefectError: `defect` is not in `defects`.
            DataError: An image and its mask do not fit each other.
        """
        self._require(defect, seeds)
        if not len(images) == len(masks) == len(seeds):
            raise ConfigError(
                f"images ({len(images)}), masks ({len(masks)}) and seeds ({len(seeds)}) must have the same length"
            )
        for image, mask in zip(images, masks, strict=True):
            _require_pair(image, mask)
        painter = self._region_painters[defect]

        def one(item: tuple[Pixels, Pixels, int]) -> Pixels:
            image, mask, seed = item
            return painter.paint(image, mask, defect, seed) if mask.any() else image.copy()

        return self._map(one, list(zip(images, masks, seeds, strict=True)))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order; `clean` is the normal image of the painter that it was painted on.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: The painter has no normal images.
            ConfigError: A negative seed.
        """
        self._require(defect, seeds)
        if not self._normals:
            raise DataError("this painter has no normal images to paint on; pass normals= to Painter.load")

        def one(seed: int) -> DefectSample:
            rng = np.random.default_rng((seed, 0x50A7))
            number = int(rng.integers(len(self._normals)))
            clean, foreground = self._normals[number]
            mask = self._propose(defect, foreground, seed, clean)
            image = self._region_painters[defect].paint(clean, mask, defect, seed)
            parameters: dict[str, str | int | float | bool | None] = {"normal": number, **self._parameters}
            provenance = Provenance(self.method, self.category, defect, int(seed), self.digest, parameters)
            return DefectSample(image, mask, defect, provenance, clean)

        return self._map(one, [int(seed) for seed in seeds])

    def _require(self, defect: str, seeds: Sequence[int]) -> None:
        if defect not in self.defects:
            raise UnknownDefectError(defect, self.category, self.defects)
        if any(seed < 0 for seed in seeds):
            raise ConfigError(f"seeds must be 0 or more, got {min(seeds)}")

    def _map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """`function` of each item, in order."""
        with ThreadPoolExecutor(self._num_threads()) as pool:
            return list(pool.map(function, items))

    def _num_threads(self) -> int:
        return 1


def _digest(weights: str, donor_prob: float | None, normals: Sequence[Pixels] | None) -> str:
    # The text before the version stays as in 0.1.0, so that the digests stay the same, too.
    digest = hashlib.sha256(f"{weights} way {PAINTING_VERSION}".encode())
    if donor_prob is not None:
        digest.update(f" donor_prob {donor_prob}".encode())
    for image in normals or ():
        digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _require_pair(image: Pixels, mask: Pixels) -> None:
    _require_image(image)
    if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
        raise DataError(
            f"mask must be uint8 {list(image.shape[:2])} like its image, got {mask.dtype} {list(mask.shape)}"
        )
    if mask.size and int(mask.max()) > 1:
        raise DataError(f"mask values must be 0 or 1, got {int(mask.max())}; divide a 0/255 mask by 255")


def _require_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(f"image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
