"""Defects on the user's own images: draw which, where and how strong, paint, and say what really changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.bank import Bank, appearance
from defect_synth.composite import pixels
from defect_synth.composite.area import Area, Box
from defect_synth.composite.paste import Patch, paste, paste_into
from defect_synth.composite.placement import Frame, Pose, aligned_pose, fitted, free_pose
from defect_synth.composite.realised import levels
from defect_synth.composite.stroke import resized, stroke
from defect_synth.composite.transfer import Mode
from defect_synth.data.records import COMBINED
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.foreground import ForegroundCache, foreground
from defect_synth.masks import Symmetry, find_symmetry
from defect_synth.samples import DefectPainter, DefectSample, DefectSource, Pixels, Provenance
from defect_synth.sources import open_source

GOOD = "good"
Placement = Literal["auto", "aligned", "object", "anywhere"]
Range = float | tuple[float, float]

_TRIES = 12  # draws for one defect before the image stays as it is
_WHOLE = 4  # of these, so many at the size that was asked for; then it shrinks
_SMALL = 128  # foreground and likeness are judged on a copy of this size
_ALIGNED = 0.85  # IoU of two objects' outlines above which they stand alike
_LOOKED_AT = 24  # recorded images from which the product's symmetry is found
_HELD = 0.85  # of what lay on the object where it was recorded, so much must lie on the new one
_FEWEST = 4  # pixels of a mask


@dataclass(frozen=True, eq=False)
class Painted:
    """An image with its defects, in the image's own type and shape.

    Attributes:
        image: Equal to the input wherever `mask` is 0.
        mask: uint8 [H, W] in {0, 1}: what really changed; all 0 exactly if `defect` is "good".
        defect: Defect category, "combined" for several kinds, "good" for none.
        parameters: What was drawn for the first defect, and `count`: JSON values; empty for none.
    """

    image: NDArray[Any]
    mask: Pixels
    defect: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Recorded:
    """What is known of the object that a defect was recorded on."""

    frame: Frame
    image_frame: Frame
    grid: NDArray[np.bool_]
    full: bool
    held: float


class DefectAugmenter:
    """Paints learnt or recorded defects on given normal images.

    `augmenter(image, rng)` takes and gives uint8 RGB; `augmenter.apply` takes what a pipeline has (grey or RGB, uint8
    or float in [0, 1]). The result depends on the image, the arguments and `rng` alone; outside the returned mask it
    is the input, bit for bit. Where no defect fits, the image stays as it is and the sample is "good".

    Args:
        source: "demo", a path (bank, run folder, checkpoint, painter, generated folder) or an object: a
            `DefectPainter` or any `DefectSource`.
        defects: Which defects; None: all of the source.
        severity: 0 nothing, 1 as recorded or learnt, up to 1.5; a number, or a range to draw from.
        scale: Size against the recorded one, 0.2 to 4.
        count: Defects per image: a number, or a range (both ends included).
        placement: `aligned`: where it was on the recorded object (parts with a fixed pose); `object`: anywhere on the
            object; `anywhere`: also off the object; `auto`: aligned where the source's products lie alike and the
            given one does, too. Defects are turned and mirrored only as the product may be.
        region: bool [H, W] of any size that covers the image: paint only in here; None: anywhere that placement allows.
        mirror: Defects may be mirrored where the product may be; False for print, which nobody stamps mirrored.
        mode: How pixels are transferred: `auto`, `residual`, `replace` or `poisson`. Painters ignore it.

    Raises:
        ConfigError: A setting out of its bounds.
        UnknownDefectError: One of `defects` is not in the source.
    """

    def __init__(
        self,
        source: str | Path | DefectSource | DefectPainter = "demo",
        *,
        defects: Sequence[str] | None = None,
        severity: Range = 1.0,
        scale: Range = 1.0,
        count: int | tuple[int, int] = 1,
        placement: Placement = "auto",
        region: NDArray[Any] | None = None,
        mirror: bool = True,
        mode: Mode = "auto",
    ) -> None:
        self.severity = _range("severity", severity, 0.0, 1.5)
        self.scale = _range("scale", scale, 0.2, 4.0)
        low, high = _range("count", count, 0, 100)
        if low != int(low) or high != int(high):
            raise ConfigError(f"count must be whole numbers, got {count}")
        self.count = (int(low), int(high))
        for name, value, known in (("placement", placement, get_args(Placement)), ("mode", mode, get_args(Mode))):
            if value not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        self.placement: Placement = placement
        self.mode: Mode = mode
        self.mirror = bool(mirror)
        self.region = None if region is None else _some("region", region)
        if isinstance(defects, str):
            raise ConfigError(f"defects must be a list of names, got the text {defects!r}; write [{defects!r}]")
        self.source = open_source(source)
        self.defects = tuple(self.source.defects if defects is None else dict.fromkeys(defects))
        if not self.defects:
            raise ConfigError("defects is empty; name at least one, or leave it out for all")
        for defect in self.defects:
            if defect not in self.source.defects:
                raise UnknownDefectError(defect, self.source.category, tuple(self.source.defects))
        self.digest = str(getattr(self.source, "digest", ""))
        self._foregrounds = ForegroundCache()
        self._recorded: dict[int, _Recorded] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What workers get: no caches."""
        return {**self.__dict__, "_foregrounds": ForegroundCache(), "_recorded": {}}

    def __call__(
        self,
        image: Pixels,
        rng: np.random.Generator,
        *,
        foreground: NDArray[np.bool_] | None = None,
        mask: Pixels | None = None,
        region: NDArray[np.bool_] | None = None,
        at: tuple[float, float] | None = None,
    ) -> DefectSample:
        """Paint on a uint8 RGB image [H, W, 3]; see `apply`. The sample's `clean` is the input.

        Raises:
            DataError: Another kind of image.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
            raise DataError(f"expected a uint8 image [H, W, 3], got {found}; use apply() for other kinds")
        painted = self.apply(image, rng, foreground=foreground, mask=mask, region=region, at=at)
        provenance = Provenance(
            "painted", self.source.category, painted.defect, 0, self.digest, dict(painted.parameters)
        )
        return DefectSample(painted.image, painted.mask, painted.defect, provenance, image)

    def apply(
        self,
        image: NDArray[Any],
        rng: np.random.Generator,
        *,
        foreground: NDArray[np.bool_] | None = None,
        mask: Pixels | None = None,
        region: NDArray[np.bool_] | None = None,
        at: tuple[float, float] | None = None,
        defects: Sequence[str] | None = None,
        severity: float | None = None,
    ) -> Painted:
        """Paint on an image of any kind.

        Args:
            image: uint8 or float in [0, 1]; [H, W], [H, W, 1] or [H, W, 3]; from 16 pixels a side. Not changed.
            rng: All that is random.
            foreground: bool [H, W], where the object is; None: found.
            mask: uint8 [H, W], paint exactly here (one defect).
            region: bool [H, W], paint only in here.
            at: (x, y) of the defect's middle.
            defects: In place of the augmenter's.
            severity: In place of the augmenter's.

        Returns:
            The painted image. Where nothing was drawn, `image` itself and an empty mask.

        Raises:
            DataError: An image, mask or region that cannot be used.
            UnknownDefectError: One of `defects` is not in the source.
            ConfigError: `severity` out of its bounds.
        """
        image = pixels.require_image(image)
        shape = (image.shape[0], image.shape[1])
        for name, given in (("foreground", foreground), ("mask", mask), ("region", region)):
            if given is not None and _some(name, given).shape != shape:
                raise DataError(f"{name} is {list(given.shape)}, the image is {list(shape)}; give it at the same size")
        if at is not None and not (0 <= at[0] < shape[1] and 0 <= at[1] < shape[0]):
            raise DataError(f"at {at[0]:g},{at[1]:g} is outside the image of {shape[1]}x{shape[0]} pixels")
        kinds = self.defects if defects is None else tuple(defects)
        for defect in kinds:
            if defect not in self.source.defects:
                raise UnknownDefectError(defect, self.source.category, tuple(self.source.defects))
        strength = self.severity if severity is None else _range("severity", severity, 0.0, 1.5)
        count = int(rng.integers(self.count[0], self.count[1] + 1))
        if mask is not None:
            count = min(count, 1)
        whole: Pixels = np.zeros(shape, np.uint8)
        out, drawn = image, list[dict[str, Any]]()
        if count and strength[1] > 0:
            area = self._area(image, foreground, region)
            for _ in range(count):
                made = self._one(out, rng, area, mask, at, kinds, strength)
                if made is None:
                    continue
                patch, parameters = made
                out = image.copy() if out is image else out
                patch.put(out, whole)
                drawn.append(parameters)
        if not drawn:
            return Painted(image, whole, GOOD)
        if len(drawn) > 1:  # one may have undone a pixel of another
            x, y, width, height = cv2.boundingRect(whole)
            part = np.s_[y : y + height, x : x + width]
            whole[part] &= (levels(image[part], out[part]) > 0).astype(np.uint8)
        found = {parameters["defect"] for parameters in drawn}
        return Painted(out, whole, found.pop() if len(found) == 1 else COMBINED, {**drawn[0], "count": len(drawn)})

    def _area(self, image: NDArray[Any], given: NDArray[Any] | None, region: NDArray[Any] | None) -> _Place:
        small = pixels.thumbnail(image, _SMALL)
        shape = (image.shape[0], image.shape[1])
        found = self._foregrounds(small) if given is None else given
        objects = Area(shape) if bool(np.all(found)) else Area(shape, found)
        layers = [layer for layer in (self.region, region) if layer is not None]
        allowed = objects
        if self.placement == "anywhere":
            allowed = Area(shape, *layers)
        elif layers:
            allowed = Area(shape, found, *layers)
        return _Place(objects, allowed, appearance(small))

    def _one(
        self,
        image: NDArray[Any],
        rng: np.random.Generator,
        place: _Place,
        mask: Pixels | None,
        at: tuple[float, float] | None,
        kinds: Sequence[str],
        strength: tuple[float, float],
    ) -> tuple[Patch, dict[str, Any]] | None:
        """One defect and what was drawn for it; None if it does not fit or would not be seen."""
        severity = float(rng.uniform(*strength))
        if severity <= 0 or (mask is None and not place.allowed.grid.any()):
            return None
        for attempt in range(_TRIES):
            defect = kinds[int(rng.integers(len(kinds)))]
            if isinstance(self.source, Bank):
                made = self._pasted(self.source, image, rng, defect, severity, place, mask, at, attempt)
            else:
                made = self._painted(self.source, image, rng, defect, severity, place, mask, at)
            if made is not None and int(made[0].mask.sum()) >= _FEWEST:
                return made[0], {"defect": defect, "severity": round(severity, 4), **made[1]}
        return None

    def _pasted(
        self,
        bank: Bank,
        image: NDArray[Any],
        rng: np.random.Generator,
        defect: str,
        severity: float,
        place: _Place,
        drawn: Pixels | None,
        at: tuple[float, float] | None,
        attempt: int,
    ) -> tuple[Patch, dict[str, Any]] | None:
        number = self._choose(bank, place.appearance, defect, rng)
        triplet, box = bank.triplet(number), bank.box(number)
        if drawn is not None:
            affine = fitted(drawn, triplet.mask, rng)
            patch = paste_into(image, triplet, box, affine, drawn, place.allowed, severity=severity, mode=self.mode)
            return patch, {"entry": number}
        recorded = self._object(bank, number)
        pose = self._pose(recorded, box, place, rng, at, 0.85 ** max(0, attempt - _WHOLE + 1))
        if pose is None:
            return None
        held = 0.0 if self.placement == "anywhere" else _HELD * recorded.held
        patch_ = paste(
            image, triplet, box, pose.affine(box), place.allowed, severity=severity, mode=self.mode, held=held
        )
        if patch_ is None:
            return None
        return patch_, {
            "entry": number, "angle": round(pose.angle, 2), "flip": pose.flip, "scale": round(pose.scale, 4),
            "x": round(pose.centre[0], 2), "y": round(pose.centre[1], 2),
        }  # fmt: skip

    def _painted(
        self,
        painter: DefectPainter,
        image: NDArray[Any],
        rng: np.random.Generator,
        defect: str,
        severity: float,
        place: _Place,
        drawn: Pixels | None,
        at: tuple[float, float] | None,
    ) -> tuple[Patch, dict[str, Any]] | None:
        seed = int(rng.integers(2**31))
        mask: Pixels | None
        if drawn is not None:
            mask = (drawn > 0).astype(np.uint8)
        else:
            inside = place.allowed.weight((0, 0, *place.allowed.shape)) > 0.5
            mask = painter.propose_mask(defect, inside, seed)
            mask = mask if at is None else np.asarray(_moved(mask, at) & inside.astype(np.uint8), np.uint8)
            if mask.any():
                mask = resized(mask, float(np.exp(rng.uniform(*np.log(self.scale)))), inside)
        if mask is None or not mask.any():
            return None
        patch = stroke(painter, image, mask, defect, seed, severity)
        return None if patch is None else (patch, {"seed": seed})

    def _choose(self, bank: Bank, here: NDArray[np.float32], defect: str, rng: np.random.Generator) -> int:
        """An entry of the defect; those recorded on objects that look like this one are likelier."""
        numbers = bank.indices(defect)
        distance = np.sqrt(((bank.appearance[numbers] - here) ** 2).mean(axis=1))
        # Half the median distance: near entries are preferred, and no entry is shut out.
        temperature = max(1e-3, 0.5 * float(np.median(distance)))
        weight = np.exp(-(distance - distance.min()) / temperature).astype(np.float64)
        return int(numbers[int(rng.choice(len(numbers), p=weight / weight.sum()))])

    def _pose(
        self,
        recorded: _Recorded,
        box: Box,
        place: _Place,
        rng: np.random.Generator,
        at: tuple[float, float] | None,
        shrink: float,
    ) -> Pose | None:
        objects = place.objects
        # An object is measured against an object; where one of the images shows none, image against image.
        both = not recorded.full and not objects.full
        here = objects.frame() if both else Area(objects.shape).frame()
        there = recorded.frame if both else recorded.image_frame
        scale = here[2] / there[2] * float(np.exp(rng.uniform(*np.log(self.scale)))) * shrink
        if at is not None:
            return free_pose(self.symmetry, scale, at, rng)
        if self.placement == "aligned" or (self.placement == "auto" and self._stands_alike(recorded, objects)):
            return aligned_pose(self.symmetry, scale, box, there, here, rng)
        spot = place.allowed.spot(0.4 * scale * min(box[2] - box[0], box[3] - box[1]), rng)
        return None if spot is None else free_pose(self.symmetry, scale, spot, rng)

    @cached_property
    def symmetry(self) -> Symmetry:
        """How the product may be moved, seen from what was recorded (painters place their defects themselves)."""
        assert isinstance(self.source, Bank)
        numbers = np.unique(np.linspace(0, len(self.source) - 1, min(_LOOKED_AT, len(self.source))).astype(int))
        triplets = [self.source.triplet(int(number)) for number in numbers]
        found = find_symmetry([t.image if t.clean is None else t.clean for t in triplets])
        return found if self.mirror else replace(found, mirror_x=False, mirror_y=False)

    def _stands_alike(self, recorded: _Recorded, objects: Area) -> bool:
        if not self.symmetry.aligned:
            return False
        if recorded.full or objects.full:
            return recorded.full and objects.full
        here = cv2.resize(objects.grid, (64, 64), interpolation=cv2.INTER_NEAREST) > 0
        return bool((here & recorded.grid).sum() >= _ALIGNED * (here | recorded.grid).sum())

    def _object(self, bank: Bank, number: int) -> _Recorded:
        if number not in self._recorded:
            triplet = bank.triplet(number)
            looked_at = pixels.thumbnail(triplet.image if triplet.clean is None else triplet.clean, _SMALL)
            found = foreground(looked_at)
            area = Area((triplet.mask.shape[0], triplet.mask.shape[1]), found)
            y0, x0, y1, x1 = box = bank.box(number)
            mask = triplet.mask[y0:y1, x0:x1] > 0
            held = float((area.weight(box)[mask] > 0.5).mean()) if mask.any() else 1.0
            grid = cv2.resize(area.grid, (64, 64), interpolation=cv2.INTER_NEAREST) > 0
            image_frame = Area(area.shape).frame()
            frame = image_frame if area.full else area.frame()
            self._recorded[number] = _Recorded(frame, image_frame, grid, area.full, held)
        return self._recorded[number]


@dataclass(frozen=True)
class _Place:
    """The given image, as far as placing needs it."""

    objects: Area
    allowed: Area
    appearance: NDArray[np.float32]


def _moved(mask: Pixels, at: tuple[float, float]) -> Pixels:
    """`mask` with the middle of its box at (x, y)."""
    x, y, width, height = cv2.boundingRect(mask)
    dx, dy = round(at[0] - (x + (width - 1) / 2)), round(at[1] - (y + (height - 1) / 2))
    return np.asarray(
        cv2.warpAffine(mask, np.array([[1.0, 0, dx], [0, 1, dy]]), mask.shape[::-1], flags=cv2.INTER_NEAREST)
    )


def _some(name: str, mask: Any) -> NDArray[Any]:
    if not isinstance(mask, np.ndarray) or mask.ndim != 2:
        found = list(mask.shape) if isinstance(mask, np.ndarray) else type(mask).__name__
        raise DataError(f"{name} must be an array [H, W], got {found}")
    if not mask.any():
        raise DataError(f"the {name} is empty; mark where a defect may be")
    return mask


def _range(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    numbers = isinstance(value, int | float | np.number)
    ends = (value, value) if numbers else tuple(value) if isinstance(value, Sequence) else ()
    if (
        len(ends) != 2 or isinstance(value, str | bool)
        or not all(isinstance(end, int | float | np.number) for end in ends) or not ends[0] <= ends[1]
    ):  # fmt: skip
        raise ConfigError(f"{name} must be a number or a range (low, high), got {value!r}")
    if not (low <= ends[0] and ends[1] <= high):
        raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {value!r}")
    return float(ends[0]), float(ends[1])
