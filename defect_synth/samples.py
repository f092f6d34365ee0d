"""The types that travel the whole way: one sample, where it came from, and anything that can make more.

This is the only file that converts between the three value ranges of this package:

* **pixels**: uint8 in 0..255, RGB, channels last, NumPy: files, users, albumentations. Masks are 0 and 1 in memory, 0
  and 255 in image files.
* **unit**: float in [0, 1]: what torchvision, anomalib and the items of data sets use.
* **signal**: float in [-1, 1], NCHW, torch: networks and losses. Masks as signal are +1 on the defect, -1 elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from defect_synth.names import require_name

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]

REAL = "real"
"""The `Provenance.method` of what a camera took."""

_MOST_TEXT, _MOST_PARAMETERS = 4000, 100  # of a provenance that was read from a file


@dataclass(frozen=True)
class Provenance:
    """Enough to make the same sample again.

    Attributes:
        method: How it was made: `dfmgan`, `real`, `crop_paste`, ...
        category: Object category, such as `hazelnut`.
        defect: Defect category, such as `hole`.
        seed: The seed that was asked for; with `checkpoint` and `parameters` it fixes every byte.
        checkpoint: Digest of the weights, empty when there are none.
        parameters: What else was chosen (truncation, a different seed for z_object, a file name): JSON values only.
    """

    method: str
    category: str
    defect: str
    seed: int
    checkpoint: str = ""
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)

    @property
    def is_real(self) -> bool:
        """Whether a camera took the image, which may have gone through a bank since."""
        return REAL in (self.method, self.parameters.get("recorded_method"))

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "method": self.method,
            "category": self.category,
            "defect": self.defect,
            "seed": self.seed,
            "checkpoint": self.checkpoint,
            "parameters": dict(self.parameters),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Provenance:
        """The inverse of `to_json`, for values that anybody may have written.

        Raises:
            ValueError: A field is missing, unknown, of another type or out of its range.
            InvalidNameError: The category or the defect is no name.
        """
        given = {"checkpoint": "", "parameters": {}, **values}
        fields = ("method", "category", "defect", "seed", "checkpoint", "parameters")
        for name in (*fields, *given):
            if name not in given or name not in fields:
                raise ValueError(f"{name!r} is {'missing' if name not in given else 'unknown'}")
        for name in ("method", "category", "defect", "checkpoint"):
            if not isinstance(given[name], str) or len(given[name]) > _MOST_TEXT:
                raise ValueError(f"{name!r} must be text of at most {_MOST_TEXT} characters")
        if type(given["seed"]) is not int or not 0 <= given["seed"] < 2**63:
            raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {str(given['seed'])[:40]!r}")
        parameters = given["parameters"]
        if not isinstance(parameters, dict) or len(parameters) > _MOST_PARAMETERS:
            raise ValueError(f"parameters must be at most {_MOST_PARAMETERS} names with values")
        for name, value in parameters.items():
            if not isinstance(value, str | int | float | bool | None) or len(str(value)) > _MOST_TEXT:
                raise ValueError(f"parameter {name[:40]!r} must be a number, a truth value, null or a short text")
        require_name(given["category"])
        require_name(given["defect"])
        return cls(**given)


@dataclass(frozen=True, eq=False)
class DefectSample:
    """One defect image with its mask, label and origin.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        mask: uint8 [H, W], 1 on the defect and 0 elsewhere.
        defect: Defect category, such as `hole`.
        provenance: How to make it again.
        clean: uint8 [H, W, 3], the same object without the defect, or None where the source has no such pair.
    """

    image: Pixels
    mask: Pixels
    defect: str
    provenance: Provenance
    clean: Pixels | None = None

    def __post_init__(self) -> None:
        """Check names, shapes, types and ranges, so that no later room has to.

        Names become files: `InvalidNameError`. All else is a mistake in a program: `ValueError`.
        """
        require_name(self.defect)
        require_name(self.provenance.category)
        require_name(self.provenance.defect)
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ValueError(f"image must be uint8 [H, W, 3], got {self.image.dtype} {list(self.image.shape)}")
        if self.mask.dtype != np.uint8 or self.mask.shape != self.image.shape[:2]:
            raise ValueError(
                f"mask must be uint8 {list(self.image.shape[:2])}, got {self.mask.dtype} {list(self.mask.shape)}"
            )
        if self.mask.size and int(self.mask.max()) > 1:
            raise ValueError(f"mask values must be 0 or 1, got {int(self.mask.max())}")
        if self.clean is not None and (self.clean.dtype != np.uint8 or self.clean.shape != self.image.shape):
            raise ValueError(
                f"clean must be uint8 {list(self.image.shape)}, got {self.clean.dtype} {list(self.clean.shape)}"
            )


@runtime_checkable
class DefectSource(Protocol):
    """Anything that makes defect samples: a DFMGAN, a baseline, a bank on disk, a folder of real defects.

    Sample i depends on `seeds[i]` alone: not on the other seeds, their number, order, the process or its threads.
    """

    @property
    def category(self) -> str:
        """Object category."""
        ...

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        ...

    @property
    def digest(self) -> str:
        """Identifies everything besides the seed that a sample depends on, such as weights and settings; not empty.

        Two sources with the same digest give the same samples on one machine, so results can be cached under it.
        """
        ...

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        ...


@runtime_checkable
class FiniteSource(DefectSource, Protocol):
    """A source that holds a fixed set of samples, such as a generated folder, a bank or the user's real defects."""

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The seeds that exist for `defect`, ascending; `sample` accepts these and no others.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        ...


def available_seeds(source: DefectSource, defect: str, count: int, first: int = 0) -> Sequence[int]:
    """The lowest `count` seeds from `first` on that `source` can make; fewer where a finite source holds fewer.

    Raises:
        UnknownDefectError: A finite source does not have `defect`.
    """
    if isinstance(source, FiniteSource):
        return [seed for seed in source.seeds(defect) if seed >= first][:count]
    return range(first, first + count)


@runtime_checkable
class SquareSource(DefectSource, Protocol):
    """A source whose images are all squares of one side, such as a DFMGAN."""

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        ...


@runtime_checkable
class DefectPainter(Protocol):
    """Anything that paints a defect into a given image where a mask says, such as the learnt painter.

    The result depends on its arguments alone.
    """

    @property
    def category(self) -> str:
        """Object category."""
        ...

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        ...

    @property
    def digest(self) -> str:
        """Identifies everything besides the arguments that a painting depends on; not empty."""
        ...

    def propose_mask(
        self, defect: str, foreground: NDArray[np.bool_], seed: int, image: Pixels | None = None
    ) -> Pixels:
        """Where such a defect could be: uint8 [H, W] in {0, 1}, inside `foreground` [H, W], not empty.

        With the image (uint8 [H, W, 3]) it may be where places look like those of real defects.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        ...

    def paint(self, image: Pixels, mask: Pixels, defect: str, seed: int) -> Pixels:
        """A copy of `image` (uint8 [H, W, 3]) with the defect inside `mask` (uint8 [H, W], 0 or 1), equal outside it.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        ...


def content_digest(name: str, arrays: Iterable[NDArray[Any]]) -> str:
    """SHA-256, in hexadecimal, of a name and of the shapes, types and bytes of arrays: a source's `digest`."""
    digest = hashlib.sha256(name.encode())
    for array in arrays:
        digest.update(f" {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def mask_to_pixels(mask: Pixels) -> Pixels:
    """Defect mask 0/1 -> the 0/255 of image files; uint8, shape unchanged."""
    return mask * np.uint8(255)


def pixels_to_mask(pixels: Pixels) -> Pixels:
    """Image of a mask -> uint8 mask: 1 where a value is above 127, 0 elsewhere; shape unchanged."""
    return (pixels > 127).astype(np.uint8)


@overload
def pixels_to_unit(image: Pixels) -> NDArray[np.float32]: ...


@overload
def pixels_to_unit(image: Tensor) -> Tensor: ...


def pixels_to_unit(image: Pixels | Tensor) -> NDArray[np.float32] | Tensor:
    """uint8 0..255 -> float32 in [0, 1], for NumPy arrays and tensors; shape unchanged."""
    if isinstance(image, np.ndarray):
        return image.astype(np.float32) / np.float32(255)
    import torch

    return image.to(torch.float32) / 255


@overload
def unit_to_pixels(image: NDArray[Any]) -> Pixels: ...


@overload
def unit_to_pixels(image: Tensor) -> Tensor: ...


def unit_to_pixels(image: NDArray[Any] | Tensor) -> Pixels | Tensor:
    """Float in [0, 1] -> uint8 0..255, rounded and clamped, for NumPy arrays and tensors; shape unchanged."""
    if isinstance(image, np.ndarray):
        rounded: Pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
        return rounded
    import torch

    return (image.float().clamp(0, 1) * 255).round().to(torch.uint8)


def pixels_to_signal(image: Tensor) -> Tensor:
    """uint8 0..255 -> float32 in [-1, 1]; shape unchanged."""
    import torch

    return image.to(torch.float32) / 127.5 - 1


def mask_to_signal(mask: Tensor) -> Tensor:
    """Defect mask 0/1 -> float32 -1/+1; shape unchanged."""
    import torch

    return mask.to(torch.float32) * 2 - 1


def signal_to_pixels(image: Tensor) -> Tensor:
    """Float signal, about [-1, 1] -> uint8 0..255, rounded and clamped; shape unchanged. Inverts `pixels_to_signal`."""
    import torch

    return (image * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
