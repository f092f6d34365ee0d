"""What a painter knows of its product, unpacked from a checkpoint: masks, donors, colours, normal images. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import CheckpointError
from defect_synth.masks import DIRECTIONS, MaskSource, Shape, Symmetry
from defect_synth.model.painter_donors import DonorBank, Exemplar
from defect_synth.painter.gate import Gate, detail
from defect_synth.samples import Pixels


@dataclass(frozen=True, eq=False)
class Luggage:
    """Masks, and for each defect donors and gate; normal images [H, W, 3] with their products [H, W]."""

    masks: MaskSource
    banks: Mapping[str, DonorBank]
    gates: Mapping[str, Gate]
    normals: tuple[tuple[Pixels, NDArray[np.bool_]], ...]


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
                Shape(
                    _mask(pictures, f"shape.{name}.{k:03d}"), (float(p["offset"][0]), float(p["offset"][1])),
                    float(p["radius"]), float(p["inside"]), float(p.get("margin", 0.0)),
                )
                for k, p in enumerate(product["shapes"][name])
            ]
            for name in defects
        }  # fmt: skip
        turns, mirror = DIRECTIONS[symmetry.turns], may_mirror(symmetry)
        banks = {
            name: DonorBank(
                [
                    Exemplar(
                        unpack(pictures[f"donor.{name}.{k:03d}"]), _mask(pictures, f"donor_mask.{name}.{k:03d}"), scale
                    )
                    for k, scale in enumerate(product["donor_scales"][name])
                ],
                turns=turns, mirror=mirror,
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
    return Luggage(MaskSource(shapes, symmetry, category), banks, gates, normals)


def may_mirror(symmetry: Symmetry) -> bool:
    """Whether a donor may be mirrored left and right (and then turned as the product may be)."""
    return symmetry.mirror_x or (symmetry.mirror_y and symmetry.turns != "none")


def pack(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] RGB or [H, W] -> PNG bytes, uint8 [n]."""
    bgr = picture[:, :, ::-1] if picture.ndim == 3 else picture
    done, data = cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    return np.ascontiguousarray(data.ravel())


def unpack(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `pack`.

    Raises:
        ValueError: Not a picture.
    """
    found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint8:
        raise ValueError("a picture inside is damaged")
    return np.ascontiguousarray(found[:, :, ::-1]) if found.ndim == 3 else found


def _mask(pictures: Mapping[str, NDArray[np.uint8]], name: str) -> Pixels:
    return (unpack(pictures[name]) > 127).astype(np.uint8)
