"""Put defects into an image by pasting entries of a bank: which entry, where, and in which pose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.image_context import ImageContext
from defect_synth.augment.inserter import Insertion, InsertionRequest
from defect_synth.augment.settings import Placement
from defect_synth.compositor import pixels
from defect_synth.compositor.bank import Bank
from defect_synth.compositor.image_region import Box, ImageRegion
from defect_synth.compositor.paste import paste, paste_into_mask
from defect_synth.compositor.placement import Pose, aligned_pose, fit_to_mask, free_pose, posed
from defect_synth.compositor.transfer import Mode
from defect_synth.product.arrangement import Arrangement, find_arrangement
from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import ProductFrame
from defect_synth.product.pose import Part, PartPose, PoseFinder, choose_part, part_of_mask
from defect_synth.product.shapes import overhang
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels

_FULL_SIZE = 4  # attempts at the requested size; later ones are smaller and smaller
_IN_PLACE = 2  # attempts at the recorded place; later ones go where the user's region is
_SHRINK = 0.85  # per further attempt
_SMALL = 128  # longer side of the copy on which the recorded object is found
_GRID = 64  # side of the grid on which the outlines of two objects are compared
_ALIGNED = 0.85  # IoU of the two outlines from which the objects count as placed alike
_FOR_POSES = 60  # recorded images from which it is learnt how the parts lie
_INSIDE = 0.85  # share of what lay on the recorded object that must lie on the new one


@dataclass(frozen=True)
class _RecordedObject:
    """The object that a defect was recorded on.

    Attributes:
        frame: Centre and radius of the object.
        image_frame: Centre and radius of the whole image.
        grid: bool [64, 64], the object.
        is_whole: Whether the object fills the image.
        inside: Share of the defect that lies on the object.
        pose: How the part with the defect lies; None: not known.
        overhang: How far the defect leaves the part, in radii of it.
    """

    frame: ProductFrame
    image_frame: ProductFrame
    grid: NDArray[np.bool_]
    is_whole: bool
    inside: float
    pose: PartPose | None
    overhang: float


class PasteInserter:
    """A `DefectInserter` that uses a bank; see `DefectAugmenter` for the settings."""

    def __init__(self, bank: Bank, scale: tuple[float, float], placement: Placement, mirror: bool, mode: Mode) -> None:
        self.bank, self.scale, self.placement, self.mirror, self.mode = bank, scale, placement, mirror, mode
        self._objects: dict[int, _RecordedObject] = {}

    def __getstate__(self) -> dict[str, Any]:
        """The state without the cache, which workers fill themselves."""
        return {**self.__dict__, "_objects": {}}

    def insert(
        self,
        image: NDArray[Any],
        context: ImageContext,
        request: InsertionRequest,
        rng: np.random.Generator,
        attempt: int,
    ) -> Insertion | None:
        """See `DefectInserter.insert`."""
        number = self._choose_entry(context.appearance, request.defect, rng)
        recorded, box = self.bank.read(number), self.bank.box(number)
        if request.mask is not None:
            affine = fit_to_mask(request.mask, recorded.mask, rng)
            patch = paste_into_mask(
                image, recorded, box, affine, request.mask, context.allowed, severity=request.severity, mode=self.mode
            )
            return Insertion(patch, {"entry": number})
        recorded_object = self._recorded_object(number)
        shrink = _SHRINK ** max(0, attempt - _FULL_SIZE + 1)
        pose = self._draw_pose(recorded_object, box, context, rng, request.at, shrink)
        if pose is None:
            return None
        allowed = context.allowed
        if attempt >= _IN_PLACE and request.at is None and self.placement == "auto" and allowed is not context.objects:
            pose = self._in_region(pose, box, allowed, rng)
        if recorded_object.overhang and allowed is context.objects:  # a region of the user's is kept
            allowed = allowed.grown(recorded_object.overhang * allowed.frame().radius)
        pasted = paste(
            image, recorded, box, pose.affine(box), allowed, severity=request.severity, mode=self.mode,
            min_inside=0.0 if self.placement == "anywhere" else _INSIDE * recorded_object.inside,
        )  # fmt: skip
        if pasted is None:
            return None
        return Insertion(pasted, {
            "entry": number, "angle": round(pose.angle, 2), "flip": pose.flip, "scale": round(pose.scale, 4),
            "x": round(pose.centre[0], 2), "y": round(pose.centre[1], 2),
        })  # fmt: skip

    def _choose_entry(self, appearance: NDArray[np.float32], defect: str, rng: np.random.Generator) -> int:
        """Draw an entry of the defect; objects that look like the given one are more likely."""
        numbers = self.bank.indices(defect)
        distance = np.sqrt(((self.bank.appearance[numbers] - appearance) ** 2).mean(axis=1))
        # With the median distance as temperature, near entries are preferred, but all of a few entries are used.
        temperature = max(1e-3, float(np.median(distance)))
        weight = np.exp(-(distance - distance.min()) / temperature).astype(np.float64)
        return int(numbers[int(rng.choice(len(numbers), p=weight / weight.sum()))])

    def _draw_pose(
        self,
        recorded: _RecordedObject,
        box: Box,
        context: ImageContext,
        rng: np.random.Generator,
        at: tuple[float, float] | None,
        shrink: float,
    ) -> Pose | None:
        """Draw a pose of the defect with this box; None if there is no room for it."""
        objects = context.objects
        # Sizes are compared object to object, or image to image if one of the two images shows no separate object.
        both_found = not recorded.is_whole and not objects.is_whole
        here = objects.frame() if both_found else ImageRegion(objects.shape).frame()
        there = recorded.frame if both_found else recorded.image_frame
        # Pictures of a surface that differ in size were cut differently, and show it at one magnification: only an
        # image that is smaller or larger than all recorded ones is taken for one of another magnification.
        reference = there.radius if both_found else float(np.clip(here.radius, *self._image_radii))
        scale = here.radius / reference * float(np.exp(rng.uniform(*np.log(self.scale)))) * shrink
        if at is not None:
            return free_pose(self.symmetry, scale, at, rng)
        if self.placement == "auto":
            part = self._part_of(context, rng)
            if part is not None and recorded.pose is not None and self._finder is not None:
                lies = part.pose.resized(max(context.objects.shape) / max(context.small.shape))
                scale *= lies.frame.radius / recorded.pose.frame.radius / (here.radius / reference)
                return posed(recorded.pose, lies, self._finder.looks_alike, scale, box, rng)
        if self.placement == "aligned" or (self.placement == "auto" and self._is_placed_alike(recorded, objects)):
            return aligned_pose(self.symmetry, scale, box, there, here, rng)
        point = context.allowed.random_point(0.4 * scale * min(box[2] - box[0], box[3] - box[1]), rng)
        return None if point is None else free_pose(self.symmetry, scale, point, rng)

    def _in_region(self, pose: Pose, box: Box, region: ImageRegion, rng: np.random.Generator) -> Pose:
        """The pose, moved into a region of the user's where real defects may never be."""
        x, y = (round(value) for value in pose.centre)
        height, width = region.shape
        if 0 <= x < width and 0 <= y < height and float(region.weight((y, x, y + 1, x + 1))[0, 0]) > 0.5:
            return pose
        point = region.random_point(0.4 * pose.scale * min(box[2] - box[0], box[3] - box[1]), rng)
        return pose if point is None else replace(pose, centre=point)

    def _part_of(self, context: ImageContext, rng: np.random.Generator) -> Part | None:
        """One of the parts in the given image; None if it is not known how they lie."""
        if self._finder is None:
            return None
        parts = [part for part in self._find_parts(context.small, context.found) if part.pose.is_reliable]
        return choose_part(parts, int(rng.integers(2**31))) if parts else None

    def _find_parts(self, small: Pixels, foreground: NDArray[np.bool_]) -> list[Part]:
        return [] if self._finder is None else self._finder.find_all(small, foreground)

    @property
    def _finder(self) -> PoseFinder | None:
        return self.arrangement.poses

    @property
    def symmetry(self) -> Symmetry:
        """How the product may be rotated and mirrored."""
        return self.arrangement.symmetry

    @cached_property
    def arrangement(self) -> Arrangement:
        """How products lie, found in the recorded images."""
        small = [self._small(number) for number in self._spread(_FOR_POSES)]
        found = find_arrangement([(image, find_foreground(image)) for image in small])
        if self.mirror:
            return found
        poses = found.poses
        if poses is not None:
            poses = replace(poses, looks_alike=replace(poses.looks_alike, axis=None))
        return Arrangement(replace(found.symmetry, mirror_x=False, mirror_y=False), poses)

    @cached_property
    def _image_radii(self) -> tuple[float, float]:
        """The smallest and the largest radius of all recorded images, see `ProductFrame`."""
        areas = np.prod(self.bank.shapes, axis=1, dtype=np.int64)
        ends = (self.bank.shapes[int(k)] for k in (areas.argmin(), areas.argmax()))
        smallest, largest = (ImageRegion((int(height), int(width))).frame().radius for height, width in ends)
        return smallest, largest

    def _spread(self, most: int) -> list[int]:
        """Numbers of at most `most` entries, spread over the bank."""
        return [int(n) for n in np.unique(np.linspace(0, len(self.bank) - 1, min(most, len(self.bank))).astype(int))]

    def _small(self, number: int) -> Pixels:
        """A small copy of the object of an entry, without the defect where that is known."""
        recorded = self.bank.read(number)
        return pixels.thumbnail(recorded.image if recorded.clean is None else recorded.clean, _SMALL)

    def _is_placed_alike(self, recorded: _RecordedObject, objects: ImageRegion) -> bool:
        """Whether the products have a fixed pose and the given one has it, too."""
        if not self.symmetry.aligned:
            return False
        if recorded.is_whole or objects.is_whole:
            return recorded.is_whole and objects.is_whole
        here = cv2.resize(objects.grid, (_GRID, _GRID), interpolation=cv2.INTER_NEAREST) > 0
        return bool((here & recorded.grid).sum() >= _ALIGNED * (here | recorded.grid).sum())

    def _recorded_object(self, number: int) -> _RecordedObject:
        if number not in self._objects:
            recorded = self.bank.read(number)
            small = self._small(number)
            region = ImageRegion((recorded.mask.shape[0], recorded.mask.shape[1]), find_foreground(small))
            y0, x0, y1, x1 = box = self.bank.box(number)
            mask = recorded.mask[y0:y1, x0:x1] > 0
            inside = float((region.weight(box)[mask] > 0.5).mean()) if mask.any() else 1.0
            grid = cv2.resize(region.grid, (_GRID, _GRID), interpolation=cv2.INTER_NEAREST) > 0
            image_frame = ImageRegion(region.shape).frame()
            frame = image_frame if region.is_whole else region.frame()
            pose, off = self._recorded_pose(small, recorded.mask)
            self._objects[number] = _RecordedObject(frame, image_frame, grid, region.is_whole, inside, pose, off)
        return self._objects[number]

    def _recorded_pose(self, small: Pixels, mask: Pixels) -> tuple[PartPose | None, float]:
        """How the part with a recorded defect lies in its image, and how far the defect leaves it, in radii."""
        parts = self._find_parts(small, find_foreground(small))
        if not parts or self._finder is None:
            return None, 0.0
        defect = cv2.resize(mask, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
        pose = part_of_mask(parts, defect).pose
        if not pose.is_reliable:
            return None, 0.0
        expected = self._finder.expected(pose, (defect.shape[0], defect.shape[1]))
        off = overhang(defect, expected) if defect.any() and expected.any() else 0.0
        return pose.resized(max(mask.shape) / max(small.shape)), off / pose.frame.radius
