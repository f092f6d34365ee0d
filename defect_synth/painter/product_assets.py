"""What a painter knows of its product, unpacked from a checkpoint: masks, donors, colours, normal images. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defect_synth.data.png import decode_png, encode_png
from defect_synth.errors import CheckpointError
from defect_synth.painter.donors import DonorBank
from defect_synth.painter.quality_check import Gate, detail
from defect_synth.product.exemplar import Exemplar
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.shapes import DefectShape
from defect_synth.product.surroundings import Surroundings, learn_surroundings
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels, pixels_to_mask

_TINT = 4  # grey levels between channels
_TINTED = 0.001  # share of the pixels


@dataclass(frozen=True, eq=False)
class Luggage:
    """Masks, and for each defect donors and gate; normal images [H, W, 3] with their products [H, W].

    `grey`: nothing that was learnt from has a colour.
    """

    masks: MaskSource
    banks: Mapping[str, DonorBank]
    gates: Mapping[str, Gate]
    normals: tuple[tuple[Pixels, NDArray[np.bool_]], ...]
    grey: bool

    def surroundings(self, side: int, reference: int) -> Surroundings | None:
        """See `learn_surroundings`."""
        exemplars = {name: bank.exemplars for name, bank in self.banks.items()}
        return learn_surroundings(self.masks.symmetry, exemplars, self.normals, side, reference)


def read_luggage(
    category: str, defects: tuple[str, ...], product: Mapping[str, Any], pictures: Mapping[str, NDArray[np.uint8]]
) -> Luggage:
    """Unpack.

    Args:
        category: Object category.
        defects: In the order of their labels.
        product: `PainterInfo.product`.
        pictures: PNG bytes by name.

    Raises:
        CheckpointError: A part is missing or damaged.
    """
    try:
        symmetry = Symmetry(**product["symmetry"])
        shapes = {
            name: [
                DefectShape(
                    _mask(pictures, f"shape.{name}.{k:03d}"), (float(p["offset"][0]), float(p["offset"][1])),
                    float(p["radius"]), float(p["inside"]), float(p.get("margin", 0.0)),
                )
                for k, p in enumerate(product["shapes"][name])
            ]
            for name in defects
        }  # fmt: skip
        banks = {
            name: DonorBank(
                [
                    Exemplar(
                        unpack(pictures[f"donor.{name}.{k:03d}"]), _mask(pictures, f"donor_mask.{name}.{k:03d}"), scale
                    )
                    for k, scale in enumerate(product["donor_scales"][name])
                ],
                turns=symmetry.num_rotations, mirror=symmetry.can_mirror,
            )
            for name in defects
        }  # fmt: skip
        gates = {
            name: Gate(product["statistics"][name], [detail(e.image, e.mask) for e in banks[name].exemplars])
            for name in defects
        }
        names = sorted(n.split(".", 1)[1] for n in pictures if n.startswith("normal."))
        normals = tuple(
            (unpack(pictures[f"normal.{n}"]), _mask(pictures, f"foreground.{n}").astype(bool)) for n in names
        )
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise CheckpointError(
            f"the painter lacks a part of its product ({type(error).__name__}: {error}); train it anew"
        ) from None
    pictured = [e.image for bank in banks.values() for e in bank.exemplars] + [image for image, _ in normals]
    return Luggage(MaskSource(shapes, symmetry, category), banks, gates, normals, all(map(is_grey, pictured)))


def is_grey(image: Pixels) -> bool:
    """Whether uint8 [H, W, 3] has no colour, but for what compression may leave."""
    lowest, highest = image.min(axis=2), image.max(axis=2)
    return bool(((highest - lowest) > _TINT).mean() < _TINTED)


def pack(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB or [H, W] -> PNG bytes, uint8 [n]."""
    return np.frombuffer(bytearray(encode_png(picture, compression=9)), np.uint8)


def unpack(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `pack`.

    Raises:
        ValueError: Not a picture.
    """
    return decode_png(data.tobytes())


def _mask(pictures: Mapping[str, NDArray[np.uint8]], name: str) -> Pixels:
    return pixels_to_mask(unpack(pictures[name]))
