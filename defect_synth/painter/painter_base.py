"""What every painter can do, whichever library runs its network. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.painter.product_assets import Luggage
from defect_synth.painter.region_painting import Brush, Network, Sizes
from defect_synth.product.foreground import find_foreground
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import DefectSample, Pixels, Provenance

DONOR_PROB = 0.9
"""How likely an attempt starts from a real defect: such paintings look more real, and cover more of what is real."""

WAY = 8
"""Of painting: raised whenever the same checkpoint paints other bytes than before."""

Job = TypeVar("Job")
Made = TypeVar("Made")


def digest_of(weights: str, donor_prob: float | None, normals: Sequence[Pixels] | None) -> str:
    """Names what a painter gives for a seed: features of samples are kept on disk under it."""
    digest = hashlib.sha256(f"{weights} way {WAY}".encode())
    if donor_prob is not None:
        digest.update(f" donor_prob {donor_prob}".encode())
    for image in normals or ():
        digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


class Easel:
    """A `DefectPainter`, and on its own normal images a `DefectSource`: all but the network.

    A result depends on the checkpoint and the arguments alone. Each image is computed by itself on one thread, several
    at a time, so no batch size or number of workers can change a byte.
    """

    method = "painter"
    digest: str

    def _set_up(
        self, category: str, defects: tuple[str, ...], reference: int, model: Mapping[str, Any], luggage: Luggage,
        network: Network, donor_prob: float, normals: Sequence[Pixels] | None, parameters: dict[str, float],
    ) -> None:  # fmt: skip
        sizes = Sizes(
            int(model["side"]), int(model["z_dim"]), int(model["map_channels"]), len(defects),
            model.get("grain", 0) > 0,
        )  # fmt: skip
        self._category, self._defects = category, defects
        self._masks, self._surroundings = luggage.masks, luggage.surroundings(sizes.side, reference)
        self._parameters = parameters
        self._brushes = {
            name: Brush(
                network, sizes, luggage.banks[name], luggage.gates[name], label, reference, donor_prob, luggage.grey
            )
            for label, name in enumerate(defects)
        }  # fmt: skip
        self._normals: list[tuple[Pixels, NDArray[np.bool_]]] = (
            list(luggage.normals) if normals is None else [(image, find_foreground(image)) for image in normals]
        )

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._defects

    @property
    def symmetry(self) -> Symmetry:
        """How the product may be moved."""
        return self._masks.symmetry

    def propose_mask(
        self, defect: str, foreground: NDArray[np.bool_], seed: int, image: Pixels | None = None
    ) -> Pixels:
        """Where such a defect could be: uint8 [H, W] of 0 and 1, inside `foreground` [H, W], not empty.

        Args:
            defect: One of `defects`.
            foreground: Where the product is, bool [H, W].
            seed: 0 or more.
            image: The product, uint8 [H, W, 3]: where products do not lie alike, the mask will mostly be where it looks
                as it does around real defects of the kind.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: The foreground is empty, or no image or not of its size.
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
        return self._masks.propose(defect, foreground, seed, weights)

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
        """`paint` for several images at a time, on several threads; the bytes are the same.

        Raises:
            ConfigError: Lists of different lengths, or a negative seed.
            UnknownDefectError: `defect` is not in `defects`.
            DataError: An image and its mask do not fit each other.
        """
        self._require(defect, seeds)
        if not len(images) == len(masks) == len(seeds):
            raise ConfigError(f"images ({len(images)}), masks ({len(masks)}) and seeds ({len(seeds)}) must be as many")
        for image, mask in zip(images, masks, strict=True):
            _require_pair(image, mask)
        brush = self._brushes[defect]

        def one(job: tuple[Pixels, Pixels, int]) -> Pixels:
            image, mask, seed = job
            return brush.paint(image, mask, defect, seed) if mask.any() else image.copy()

        return self._each(one, list(zip(images, masks, seeds, strict=True)))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed on the painter's normal images, in order; `clean` is the image it was painted on.

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
            image = self._brushes[defect].paint(clean, mask, defect, seed)
            parameters: dict[str, str | int | float | bool | None] = {"normal": number, **self._parameters}
            provenance = Provenance(self.method, self.category, defect, int(seed), self.digest, parameters)
            return DefectSample(image, mask, defect, provenance, clean)

        return self._each(one, [int(seed) for seed in seeds])

    def _require(self, defect: str, seeds: Sequence[int]) -> None:
        if defect not in self.defects:
            raise UnknownDefectError(defect, self.category, self.defects)
        if any(seed < 0 for seed in seeds):
            raise ConfigError(f"seeds must be 0 or more, got {min(seeds)}")

    def _each(self, make: Callable[[Job], Made], jobs: Sequence[Job]) -> list[Made]:
        """`make` on each job, in order."""
        with ThreadPoolExecutor(max(1, self._workers())) as pool:
            return list(pool.map(make, jobs))

    def _workers(self) -> int:
        return 1


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
