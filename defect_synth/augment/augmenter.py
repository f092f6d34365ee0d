"""`DefectAugmenter`: draw which defect, where and how strong, put it into an image, and return an exact mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.image_context import ImageContext
from defect_synth.augment.inserter import DefectInserter, Insertion, InsertionRequest
from defect_synth.augment.paint_inserter import PaintInserter
from defect_synth.augment.paste_inserter import PasteInserter
from defect_synth.augment.settings import Placement, Range, check_mask, check_point, check_range
from defect_synth.compositor import pixels
from defect_synth.compositor.bank import Bank, appearance
from defect_synth.compositor.image_region import ImageRegion
from defect_synth.compositor.transfer import Mode
from defect_synth.compositor.visible_change import grey_level_change
from defect_synth.data.records import COMBINED
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.open import open_painter
from defect_synth.product.foreground import find_foreground
from defect_synth.product.recent_images import RecentImages
from defect_synth.product.region import PartRegion
from defect_synth.samples import DefectPainter, DefectSample, DefectSource, Pixels, Provenance

GOOD = "good"
MAX_SEVERITY = 1.5
_ATTEMPTS = 12  # per defect, before the image stays as it is
_SMALL = 128  # longer side of the copy on which the object is found and its appearance measured
_MIN_PIXELS = 4  # of a mask


@dataclass(frozen=True, eq=False)
class AugmentedImage:
    """An image with its defects.

    Attributes:
        image: In the shape and dtype of the input, and equal to it wherever `mask` is 0.
        mask: uint8 [H, W] in {0, 1}: the pixels that visibly changed; all 0 if and only if `defect` is "good".
        defect: Defect category; "combined" for defects of several categories, "good" for none.
        parameters: The random choices for the first defect, and the `count` of defects, as JSON values; empty for none.
    """

    image: NDArray[Any]
    mask: Pixels
    defect: str
    parameters: dict[str, Any] = field(default_factory=dict)


class DefectAugmenter:
    """Adds learnt or recorded defects to images of normal products.

    `augmenter(image, rng)` takes a uint8 RGB image and returns a `DefectSample`. `augmenter.apply` also takes grey and
    float images. The result depends on the image, the arguments and `rng` alone. Outside the returned mask it equals
    the input, bit for bit. If no defect fits, the image stays as it is and the sample is "good".

    Args:
        source: What `defect_synth.open` opens: "demo" (the painter that ships with the package), "demo-bank" (recorded
            defects of the procedural product, which are pasted), a path (bank, run folder, checkpoint or generated
            folder), or an object: a `DefectPainter` or any `DefectSource`.
        defects: Defect categories to use; None: all of the source.
        severity: 0 adds nothing, 1 is the defect as recorded or learnt, up to 1.5; a number, or a range to draw from.
        scale: Size relative to the recorded defect, 0.2 to 4; a number, or a range to draw from.
        count: Defects per image; a number, or a range that includes both ends.
        placement: `aligned` keeps the position relative to the recorded object, for products with a fixed pose;
            `object` allows any position on the object; `anywhere` also the background; `auto` is `aligned` if the
            products of the source and the given one have the same pose, and `object` otherwise. Defects are rotated
            and mirrored only as the symmetry of the product allows.
        region: bool [H, W], of any size that covers the whole image: defects are added only in here; None: anywhere
            that `placement` allows.
        region_of: The normal image that `region` was drawn on, of the same size: the region then follows the part in
            all other images, however it lies. Images in which that cannot be told stay as they are. None: the region is
            at the same place in every image.
        mirror: Whether defects may be mirrored if the product may be. Use False for printed characters.
        mode: How pasted defects are blended: `auto`, `residual`, `replace` or `poisson`.

    A painter decides itself where its defects occur and how they are blended, so with a painter `mode`,
    `mirror=False` and `placement="aligned"` are refused.

    Raises:
        ConfigError: A setting is out of its bounds or cannot be used with this source.
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
        region_of: NDArray[Any] | None = None,
        mirror: bool = True,
        mode: Mode = "auto",
    ) -> None:
        self.severity = check_range("severity", severity, 0.0, MAX_SEVERITY)
        self.scale = check_range("scale", scale, 0.2, 4.0)
        low, high = check_range("count", count, 0, 100)
        if low != int(low) or high != int(high):
            raise ConfigError(f"count must be whole numbers, got {count}")
        self.count = (int(low), int(high))
        for name, value, known in (("placement", placement, get_args(Placement)), ("mode", mode, get_args(Mode))):
            if value not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        self.placement: Placement = placement
        self.mode: Mode = mode
        self.mirror = bool(mirror)
        self.region = None if region is None else check_mask("region", region)
        self.source = open_painter(source)
        self.defects = self._check_defects(self.source.defects if defects is None else defects)
        self._inserter: DefectInserter
        if isinstance(self.source, Bank):
            self._inserter = PasteInserter(self.source, self.scale, self.placement, self.mirror, self.mode)
        else:
            self._inserter = PaintInserter(self.source, self.scale, self.placement, self.mirror, self.mode)
        self._part_region = None if region_of is None else self._follow_part(region_of)
        self.digest = self.source.digest
        self._foregrounds = RecentImages(find_foreground)

    def __getstate__(self) -> dict[str, Any]:
        """The state without the cache, which workers fill themselves."""
        return {**self.__dict__, "_foregrounds": RecentImages(find_foreground)}

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
        """Add defects to a uint8 RGB image [H, W, 3]; see `apply`. The sample's `clean` is the input.

        Raises:
            DataError: The image is of another kind.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
            raise DataError(f"expected a uint8 image [H, W, 3], got {found}; use apply() for other kinds")
        result = self.apply(image, rng, foreground=foreground, mask=mask, region=region, at=at)
        provenance = Provenance("painted", self.source.category, result.defect, 0, self.digest, dict(result.parameters))
        return DefectSample(result.image, result.mask, result.defect, provenance, image)

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
    ) -> AugmentedImage:
        """Add defects to an image.

        Args:
            image: uint8 or float in [0, 1]; [H, W], [H, W, 1] or [H, W, 3]; at least 16 pixels a side. Not changed.
            rng: The source of all random choices.
            foreground: bool [H, W], where the object is; None: it is found automatically.
            mask: uint8 [H, W]: the defect must have this shape. At most one defect is added.
            region: bool [H, W]: defects are added only in here.
            at: (x, y) of the centre of the defect in pixels.
            defects: Replaces the augmenter's.
            severity: Replaces the augmenter's.

        Returns:
            The image with its defects. If nothing was added, `image` itself and an empty mask.

        Raises:
            DataError: The image, a mask or the region cannot be used.
            UnknownDefectError: One of `defects` is not in the source.
            ConfigError: `severity` is out of its bounds, or both `mask` and `at` are given.
        """
        if not isinstance(rng, np.random.Generator):
            raise ConfigError(f"rng must be a NumPy generator, np.random.default_rng(seed), got {type(rng).__name__}")
        image = pixels.require_image(image)
        shape = (image.shape[0], image.shape[1])
        for name, given in (("foreground", foreground), ("mask", mask), ("region", region)):
            if given is not None and check_mask(name, given).shape != shape:
                raise DataError(f"{name} is {list(given.shape)}, the image is {list(shape)}; give it at the same size")
        if mask is not None and at is not None:
            raise ConfigError(
                "a mask says where the defect is, so it cannot be combined with at; leave one of them out"
            )
        at = None if at is None else check_point(at, shape)
        names = self.defects if defects is None else self._check_defects(defects)
        severities = self.severity if severity is None else check_range("severity", severity, 0.0, MAX_SEVERITY)
        count = int(rng.integers(self.count[0], self.count[1] + 1))
        if mask is not None:
            count = min(count, 1)
        whole: Pixels = np.zeros(shape, np.uint8)
        out, added = image, list[dict[str, Any]]()
        if count and severities[1] > 0:
            context = self._context(image, foreground, region)
            for _ in range(count):
                insertion = self._insert_one(out, rng, context, mask, at, names, severities)
                if insertion is None:
                    continue
                out = image.copy() if out is image else out
                insertion.patch.write_into(out, whole)
                added.append(insertion.parameters)
        if not added:
            return AugmentedImage(image, whole, GOOD)
        if len(added) > 1:  # a later defect may have restored a pixel that an earlier one had changed
            x, y, width, height = cv2.boundingRect(whole)
            window = np.s_[y : y + height, x : x + width]
            whole[window] &= (grey_level_change(image[window], out[window]) > 0).astype(np.uint8)
        found = {parameters["defect"] for parameters in added}
        defect = found.pop() if len(found) == 1 else COMBINED
        return AugmentedImage(out, whole, defect, {**added[0], "count": len(added)})

    def _check_defects(self, defects: Sequence[str]) -> tuple[str, ...]:
        if isinstance(defects, str):
            raise ConfigError(f"defects must be a list of names, got the text {defects!r}; write [{defects!r}]")
        names = tuple(dict.fromkeys(defects))
        if not names:
            raise ConfigError("defects is empty; name at least one, or leave it out for all")
        for defect in names:
            if defect not in self.source.defects:
                raise UnknownDefectError(defect, self.source.category, tuple(self.source.defects))
        return names

    def _follow_part(self, region_of: NDArray[Any]) -> PartRegion:
        if self.region is None:
            raise ConfigError("region_of is the image that region was drawn on, and there is no region; give both")
        arrangement = self._inserter.arrangement
        if arrangement is None:
            raise ConfigError("region_of needs a bank or a painter of this package, which know how parts lie")
        return PartRegion(pixels.to_rgb(pixels.require_image(region_of)), self.region, arrangement)

    def _context(
        self, image: NDArray[Any], foreground: NDArray[Any] | None, region: NDArray[Any] | None
    ) -> ImageContext:
        small = pixels.thumbnail(image, _SMALL)
        shape = (image.shape[0], image.shape[1])
        found = self._foregrounds(small) if foreground is None else foreground
        objects = ImageRegion(shape) if bool(np.all(found)) else ImageRegion(shape, found)
        size = (small.shape[1], small.shape[0])
        on_small = found if foreground is None else cv2.resize(found.astype(np.uint8), size) > 0
        own = self.region if self._part_region is None else self._part_region.in_image(small, on_small, shape)
        layers = [layer for layer in (own, region) if layer is not None]
        allowed = objects
        if self.placement == "anywhere":
            allowed = ImageRegion(shape, *layers)
        elif layers:
            allowed = ImageRegion(shape, found, *layers)
        return ImageContext(objects, allowed, appearance(small), small, on_small)

    def _insert_one(
        self,
        image: NDArray[Any],
        rng: np.random.Generator,
        context: ImageContext,
        mask: Pixels | None,
        at: tuple[float, float] | None,
        names: Sequence[str],
        severities: tuple[float, float],
    ) -> Insertion | None:
        """Try up to `_ATTEMPTS` times to add one defect, each time with a new draw; None if none fits or is visible."""
        severity = float(rng.uniform(*severities))
        if severity <= 0 or (mask is None and not context.allowed.grid.any()):
            return None
        for attempt in range(_ATTEMPTS):
            defect = names[int(rng.integers(len(names)))]
            request = InsertionRequest(defect, severity, mask, at)
            insertion = self._inserter.insert(image, context, request, rng, attempt)
            if insertion is not None and int(insertion.patch.mask.sum()) >= _MIN_PIXELS:
                parameters = {"defect": defect, "severity": round(severity, 4), **insertion.parameters}
                return Insertion(insertion.patch, parameters)
        return None
