"""How the products of a category lie in their images: all alike, each in a pose of its own, or as a texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import ConfigError
from defect_synth.product.pose import Movement, PoseFinder, learn_poses
from defect_synth.product.symmetry import Symmetry, Turns, find_symmetry
from defect_synth.samples import Pixels

Lie = Literal["auto", "aligned", "any", "none"]
"""All alike, each in a pose of its own that is found, in poses that mean nothing; `auto`: find out which."""

_NEAR = np.deg2rad(10.0)  # of a mirror axis to that of the image
_FOR_SYMMETRY, _LOOKED_AT = 32, 60  # normal images
_ONE_DIRECTION = 0.9  # resultant length of the directions of parts that point the same way


@dataclass(frozen=True, eq=False)
class Arrangement:
    """How products lie.

    Attributes:
        symmetry: How they may be moved in the image, and whether they lie alike.
        poses: Finds how each one lies; None: they lie alike, or have no pose.
    """

    symmetry: Symmetry
    poses: PoseFinder | None

    def describe(self) -> str:
        """One line for the user."""
        symmetry = self.symmetry
        if self.poses is not None:
            order = self.poses.looks_alike.order
            lie = "each in a pose of its own" + (f", alike after 1/{order} of a turn" if order > 1 else "")
        else:
            lie = "all alike" if symmetry.aligned else "anyhow, or as a texture, without poses that could be told"
        mirrors = " and ".join("x" * symmetry.mirror_x + "y" * symmetry.mirror_y) or "none"
        return f"the products lie {lie}; rotations {symmetry.turns}, mirroring {mirrors}"


def find_arrangement(normals: Sequence[tuple[Pixels, NDArray[np.bool_]]], lie: Lie = "auto") -> Arrangement:
    """Find out how products lie, and after which movements they look alike.

    Args:
        normals: Normal images uint8 [H, W, 3] with their foregrounds bool [H, W], at least one.
        lie: What is known of it.

    Raises:
        ConfigError: `lie` is `any`, but no pose can be found in the images.
    """
    symmetry = find_symmetry([image for image, _ in normals[:_FOR_SYMMETRY]])
    poses = None if lie == "none" else learn_poses(normals)
    if lie == "none":
        return Arrangement(replace(symmetry, aligned=False), None)
    if lie == "any" and poses is None:
        raise ConfigError(
            "pose=any needs parts on a plain background whose pose can be told from their looks, and none was found in "
            "the normal images; leave it out, or use pose=none"
        )
    if lie == "aligned" or (lie == "auto" and symmetry.aligned):
        symmetry = replace(symmetry, aligned=True)
        return Arrangement(symmetry if poses is None else _of_aligned(normals, poses), None)
    return Arrangement(symmetry if poses is None else _of_posed(normals, poses), poses)


def _of_aligned(normals: Sequence[tuple[Pixels, NDArray[np.bool_]]], poses: PoseFinder) -> Symmetry:
    """How products that lie alike may be moved, from how they look in their own frame.

    A mean image shows no small imprint, which forbids mirroring; the poses do.
    """
    order, axis = poses.looks_alike.order, poses.looks_alike.axis
    turns: Turns = "quarter" if order % 4 == 0 else "half" if order % 2 == 0 else "none"
    if axis is None:
        return Symmetry(turns)
    image, foreground = normals[len(normals) // 2]
    pose = poses.find(image, foreground).movement
    here = [pose.after(turn).after(Movement(axis, True)).after(pose.inverse()) for turn in poses.looks_alike.turns()]
    angles = np.array([movement.angle for movement in here])
    return Symmetry(turns, mirror_x=_any_near(angles, 0.0), mirror_y=_any_near(angles, np.pi))


def _of_posed(normals: Sequence[tuple[Pixels, NDArray[np.bool_]]], poses: PoseFinder) -> Symmetry:
    """How products that each lie in a pose of their own may be moved in the image: as they are seen to lie."""
    found = [poses.find(image, foreground) for image, foreground in normals[:_LOOKED_AT] if foreground.any()]
    angles = np.array([pose.movement.angle for pose in found if pose.is_reliable and not pose.movement.flip])
    order = poses.looks_alike.order
    alike = len(angles) > 0 and float(np.abs(np.exp(1j * order * angles).mean())) > _ONE_DIRECTION
    mirror = poses.turned_over or poses.looks_alike.axis is not None
    if alike:
        return replace(_of_aligned(normals, poses), aligned=False)
    return Symmetry("any", mirror_x=mirror, mirror_y=mirror, aligned=False)


def _any_near(angles: NDArray[np.float64], angle: float) -> bool:
    return bool((np.abs(np.angle(np.exp(1j * (angles - angle)))) < _NEAR).any())
