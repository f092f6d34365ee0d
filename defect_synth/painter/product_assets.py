"""What a painter knows of its product besides its networks: new masks, donors, quality limits and normal images.

Numbers are stored in the card of the checkpoint and images as PNG bytes beside the weights. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defect_synth.data.png import decode_png, encode_png
from defect_synth.errors import CheckpointError
from defect_synth.painter.donors import DonorBank
from defect_synth.painter.product_card import require_product
from defect_synth.painter.quality_check import PaintingLimits, colour_statistics, fine_detail
from defect_synth.product.exemplar import Exemplar
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.polar import SPECTRUM_SHAPE
from defect_synth.product.pose import LooksAlike, Movement, PoseFinder
from defect_synth.product.shapes import DefectShape
from defect_synth.product.surroundings import Surroundings, learn_surroundings
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels, mask_to_pixels, pixels_to_mask

Bytes = NDArray[np.uint8]
Normal = tuple[Pixels, NDArray[np.bool_]]
"""A normal image uint8 [H, W, 3] and its foreground bool [H, W]."""

_OUTLINE, _TEMPLATE = "pose_outline", "pose_template"
_MAX_TINT = 4  # grey levels between channels
_MAX_TINTED = 0.001  # share of the pixels


@dataclass(frozen=True, eq=False)
class ProductAssets:
    """What a painter knows of its product.

    Attributes:
        masks: Proposes new masks.
        donors: Defect category -> its donors.
        limits: Defect category -> what its paintings should look like.
        normals: Normal images with their foregrounds.
        grey: None of the images has any colour.
        poses: Finds how products lie; None: they lie alike, or have no pose that can be found.
    """

    masks: MaskSource
    donors: Mapping[str, DonorBank]
    limits: Mapping[str, PaintingLimits]
    normals: tuple[Normal, ...]
    grey: bool
    poses: PoseFinder | None

    def surroundings(self, side: int, reference: int) -> Surroundings | None:
        """What surrounds the real defects, see `learn_surroundings`."""
        exemplars = {name: bank.exemplars for name, bank in self.donors.items()}
        return learn_surroundings(self.masks.symmetry, exemplars, self.normals, side, reference)


def pack_product_assets(
    symmetry: Symmetry,
    shapes: Mapping[str, Sequence[DefectShape]],
    exemplars: Mapping[str, Sequence[Exemplar]],
    normals: Sequence[Normal],
    poses: PoseFinder | None,
) -> tuple[dict[str, Any], dict[str, Bytes]]:
    """Pack what a painter knows of its product for its checkpoint.

    Args:
        symmetry: How the product may be moved.
        shapes: Defect category -> its real masks.
        exemplars: The same categories -> their real defects.
        normals: Normal images with their foregrounds.
        poses: Finds how products lie, if that can be found.

    Returns:
        Numbers as plain values for the card, and images as PNG bytes, uint8 [n], by name.
    """
    product = {
        "symmetry": symmetry.to_json(),
        "donor_scales": {name: [e.scale for e in items] for name, items in exemplars.items()},
        "shapes": {
            name: [
                {
                    "offset": list(s.offset),
                    "radius": s.radius,
                    "inside": s.inside,
                    "margin": s.margin,
                    "overhang": s.overhang,
                    "movement": list(s.movement),
                    "located": s.located,
                }
                for s in shapes[name]
            ]
            for name in exemplars
        },
        "statistics": {name: [colour_statistics(e.image, e.mask) for e in items] for name, items in exemplars.items()},
    }
    images: dict[str, Pixels] = {}
    packed: dict[str, Bytes] = {}
    if poses is not None:
        product["poses"] = {
            "reach": poses.reach, "order": poses.looks_alike.order, "axis": poses.looks_alike.axis,
            "turned_over": poses.turned_over, "usual": poses.usual, "gap": poses.gap,
        }  # fmt: skip
        images[_OUTLINE] = poses.outline
        packed[_TEMPLATE] = np.frombuffer(bytearray(poses.template.astype("<c8").tobytes()), np.uint8)
    for i, (image, foreground) in enumerate(normals):
        images[f"normal.{i:03d}"] = image
        images[f"foreground.{i:03d}"] = mask_to_pixels(foreground.astype(np.uint8))
    for name, items in exemplars.items():
        for k, exemplar in enumerate(items):
            images[f"donor.{name}.{k:03d}"] = exemplar.image
            images[f"donor_mask.{name}.{k:03d}"] = mask_to_pixels(exemplar.mask)
        for k, shape in enumerate(shapes[name]):
            images[f"shape.{name}.{k:03d}"] = mask_to_pixels(shape.mask)
    return product, packed | {name: _encode(image) for name, image in images.items()}


def unpack_product_assets(
    category: str, defects: Sequence[str], product: Mapping[str, Any], images: Mapping[str, Bytes], where: object
) -> ProductAssets:
    """The inverse of `pack_product_assets`.

    Args:
        category: Object category.
        defects: Defect categories in the order of their labels.
        product: Numbers, from the card.
        images: PNG bytes by name.
        where: The file that holds them, for messages.

    Raises:
        CheckpointError: Something is missing or damaged.
    """
    require_product(product, defects, images, where)
    try:
        symmetry = Symmetry(**product["symmetry"])
        shapes = {name: _shapes(product["shapes"][name], name, images) for name in defects}
        donors = {
            name: DonorBank(
                [
                    Exemplar(*_pair(images, f"donor.{name}.{k:03d}", f"donor_mask.{name}.{k:03d}"), scale)
                    for k, scale in enumerate(product["donor_scales"][name])
                ],
                num_rotations=symmetry.num_rotations,
                can_mirror=symmetry.can_mirror,
            )
            for name in defects
        }
        limits = {
            name: PaintingLimits(
                product["statistics"][name], [fine_detail(e.image, e.mask) for e in donors[name].exemplars]
            )
            for name in defects
        }
        poses = _poses(product["poses"], images) if "poses" in product else None
        numbers = sorted(name.split(".", 1)[1] for name in images if name.startswith("normal."))
        pairs = [_pair(images, f"normal.{n}", f"foreground.{n}") for n in numbers]
        normals = tuple((image, foreground.astype(bool)) for image, foreground in pairs)
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise CheckpointError(
            f"{where}: the painter's knowledge of its product is incomplete ({type(error).__name__}: {error}); "
            "train it again"
        ) from None
    pictured = [e.image for bank in donors.values() for e in bank.exemplars] + [image for image, _ in normals]
    masks = MaskSource(shapes, symmetry, category, None if poses is None else poses.looks_alike)
    return ProductAssets(masks, donors, limits, normals, all(map(is_grey, pictured)), poses)


def is_grey(image: Pixels) -> bool:
    """Whether an image uint8 [H, W, 3] has no colour, apart from what compression may leave."""
    lowest, highest = image.min(axis=2), image.max(axis=2)
    return bool(((highest - lowest) > _MAX_TINT).mean() < _MAX_TINTED)


def _shapes(places: Sequence[Mapping[str, Any]], name: str, images: Mapping[str, Bytes]) -> list[DefectShape]:
    return [
        DefectShape(
            _decode_mask(images[f"shape.{name}.{k:03d}"]),
            (float(place["offset"][0]), float(place["offset"][1])),
            float(place["radius"]),
            float(place["inside"]),
            float(place.get("margin", 0.0)),  # older painters have none of these
            float(place.get("overhang", 0.0)),
            _movement(place.get("movement", (0.0, False))),
            bool(place.get("located", True)),
        )
        for k, place in enumerate(places)
    ]


def _pair(images: Mapping[str, Bytes], image: str, mask: str) -> tuple[Pixels, Pixels]:
    """An image uint8 [H, W, 3] and its mask uint8 [H, W] in {0, 1}."""
    pixels, region = decode_png(images[image].tobytes()), _decode_mask(images[mask])
    if pixels.ndim != 3 or pixels.shape[2] != 3 or region.shape != pixels.shape[:2]:
        raise ValueError(f"{image} is {list(pixels.shape)} and {mask} {list(region.shape)}")
    return pixels, region


def _movement(values: Sequence[Any]) -> Movement:
    angle, flip = values
    return Movement(float(angle), bool(flip))


def _poses(values: Mapping[str, Any], images: Mapping[str, Bytes]) -> PoseFinder:
    template = np.frombuffer(images[_TEMPLATE].tobytes(), "<c8").reshape(SPECTRUM_SHAPE)
    if not np.isfinite(template).all():
        raise ValueError("the template of the pose has values that are no numbers")
    axis = values["axis"]
    alike = LooksAlike(int(values["order"]), None if axis is None else float(axis))
    numbers = float(values["reach"]), float(values["usual"]), float(values["gap"])
    if not (np.isfinite(numbers).all() and min(numbers[:2]) > 0 and 1 <= alike.order <= 360):
        raise ValueError(f"reach, usual and gap of the pose are {numbers}, its order is {alike.order}")
    outline = decode_png(images[_OUTLINE].tobytes())
    return PoseFinder(
        template, outline, numbers[0], alike, turned_over=bool(values["turned_over"]), usual=numbers[1], gap=numbers[2]
    )


def _encode(image: Pixels) -> Bytes:
    return np.frombuffer(bytearray(encode_png(image, compression=9)), np.uint8)  # writable, as torch wants it


def _decode_mask(data: Bytes) -> Pixels:
    mask = pixels_to_mask(decode_png(data.tobytes()))
    if mask.ndim != 2 or not mask.any():
        raise ValueError("a mask is empty or coloured")
    return mask
