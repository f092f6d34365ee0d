"""Defects on the user's own images: draw which, where and how strong, paint, and say what really changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.painting import Painting
from defect_synth.augment.pasting import Pasting
from defect_synth.augment.place import Place
from defect_synth.augment.settings import Placement, Range, limits, marked, point
from defect_synth.compositor import pixels
from defect_synth.compositor.area import Area
from defect_synth.compositor.bank import Bank, appearance
from defect_synth.compositor.paste import Patch
from defect_synth.compositor.realised import levels
from defect_synth.compositor.transfer import Mode
from defect_synth.data.records import COMBINED
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.open import open_painter
from defect_synth.product.foreground import ForegroundCache
from defect_synth.samples import DefectPainter, DefectSample, DefectSource, Pixels, Provenance

GOOD = "good"
_TRIES = 12  # draws for one defect before the image stays as it is
_SMALL = 128  # foreground and likeness are judged on a copy of this size
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


class DefectAugmenter:
    """Paints learnt or recorded defects on given normal images.

    `augmenter(image, rng)` takes and gives uint8 RGB; `augmenter.apply` takes what a pipeline has (grey or RGB, uint8
    or float in [0, 1]). The result depends on the image, the arguments and `rng` alone; outside the returned mask it
    is the input, bit for bit. Where no defect fits, the image stays as it is and the sample is "good".

    Args:
        source: "demo" (recorded defects, pasted), "demo-painter" (the painter that ships), a path (bank, run folder,
            checkpoint, painter, generated folder) or an object: a `DefectPainter` or any `DefectSource`.
        defects: Which defects; None: all of the source.
        severity: 0 nothing, 1 as recorded or learnt, up to 1.5; a number, or a range to draw from.
        scale: Size against the recorded one, 0.2 to 4.
        count: Defects per image: a number, or a range (both ends included).
        placement: `aligned`: where it was on the recorded object (parts with a fixed pose); `object`: anywhere on the
            object; `anywhere`: also off the object; `auto`: aligned where the source's products lie alike and the
            given one does, too. Defects are turned and mirrored only as the product may be.
        region: bool [H, W] of any size that covers the image: paint only in here; None: anywhere that placement allows.
        mirror: Defects may be mirrored where the product may be; False for print, which nobody stamps mirrored.
        mode: How pixels are transferred: `auto`, `residual`, `replace` or `poisson`.

    A painter has learnt where its defects are and how they look: with one, `mode`, `mirror=False` and
    `placement="aligned"` are refused.

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
        self.severity = limits("severity", severity, 0.0, 1.5)
        self.scale = limits("scale", scale, 0.2, 4.0)
        low, high = limits("count", count, 0, 100)
        if low != int(low) or high != int(high):
            raise ConfigError(f"count must be whole numbers, got {count}")
        self.count = (int(low), int(high))
        for name, value, known in (("placement", placement, get_args(Placement)), ("mode", mode, get_args(Mode))):
            if value not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        self.placement: Placement = placement
        self.mode: Mode = mode
        self.mirror = bool(mirror)
        self.region = None if region is None else marked("region", region)
        self.source = open_painter(source)
        self.defects = self._known(self.source.defects if defects is None else defects)
        how = (self.scale, self.placement, self.mirror, self.mode)
        self._put: Pasting | Painting = (
            Pasting(self.source, *how) if isinstance(self.source, Bank) else Painting(self.source, *how)
        )
        self.digest = self.source.digest
        self._foregrounds = ForegroundCache()

    def __getstate__(self) -> dict[str, Any]:
        """What workers get: no caches."""
        return {**self.__dict__, "_foregrounds": ForegroundCache()}

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
        if not isinstance(rng, np.random.Generator):
            raise ConfigError(f"rng must be a NumPy generator, np.random.default_rng(seed), got {type(rng).__name__}")
        image = pixels.require_image(image)
        shape = (image.shape[0], image.shape[1])
        for name, given in (("foreground", foreground), ("mask", mask), ("region", region)):
            if given is not None and marked(name, given).shape != shape:
                raise DataError(f"{name} is {list(given.shape)}, the image is {list(shape)}; give it at the same size")
        at = None if at is None else point(at, shape)
        kinds = self.defects if defects is None else self._known(defects)
        strength = self.severity if severity is None else limits("severity", severity, 0.0, 1.5)
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

    def _known(self, defects: Sequence[str]) -> tuple[str, ...]:
        if isinstance(defects, str):
            raise ConfigError(f"defects must be a list of names, got the text {defects!r}; write [{defects!r}]")
        known = tuple(dict.fromkeys(defects))
        if not known:
            raise ConfigError("defects is empty; name at least one, or leave it out for all")
        for defect in known:
            if defect not in self.source.defects:
                raise UnknownDefectError(defect, self.source.category, tuple(self.source.defects))
        return known

    def _area(self, image: NDArray[Any], given: NDArray[Any] | None, region: NDArray[Any] | None) -> Place:
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
        return Place(objects, allowed, appearance(small))

    def _one(
        self,
        image: NDArray[Any],
        rng: np.random.Generator,
        place: Place,
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
            made = self._put(image, rng, defect, severity, place, mask, at, attempt)
            if made is not None and int(made[0].mask.sum()) >= _FEWEST:
                return made[0], {"defect": defect, "severity": round(severity, 4), **made[1]}
        return None
