"""Check what a user may set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import ConfigError, DataError

Placement = Literal["auto", "aligned", "object", "anywhere"]
Range = float | tuple[float, float]


def check_mask(name: str, mask: Any) -> NDArray[Any]:
    """Return `mask` unchanged if it is an array [H, W] of two values, 0 and another, and not empty.

    Raises:
        DataError: It is anything else.
    """
    if not isinstance(mask, np.ndarray) or mask.ndim != 2:
        found = list(mask.shape) if isinstance(mask, np.ndarray) else type(mask).__name__
        raise DataError(f"{name} must be an array [H, W], got {found}; give one, such as image[..., 0] > 0")
    if not mask.any():
        raise DataError(f"the {name} is empty; mark where a defect may be")
    if mask.dtype != np.bool_ and not ((mask == 0) | (mask == mask.max())).all():
        found = ", ".join(f"{value:g}" for value in np.unique(mask)[:6])
        raise DataError(
            f"{name} must have two values, 0 and another, got {found}, ...; pass {name} > 0 or another limit "
            "(JPEG blurs masks: keep them as PNG)"
        )
    return mask


def check_point(at: Any, shape: tuple[int, int]) -> tuple[float, float]:
    """Return `at` as (x, y) if it is a point inside an image of `shape` (H, W).

    Raises:
        DataError: It is anything else.
    """
    numbers = isinstance(at, Sequence | np.ndarray) and not isinstance(at, str)
    if not numbers or len(at) != 2 or not all(isinstance(end, int | float | np.number) for end in at):
        raise DataError(f"at must be (x, y) in pixels, got {at!r}")
    if not (0 <= at[0] < shape[1] and 0 <= at[1] < shape[0]):
        raise DataError(f"at {at[0]:g},{at[1]:g} is outside the image of {shape[1]}x{shape[0]} pixels")
    return float(at[0]), float(at[1])


def check_range(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """Return a number or a range as (low, high).

    Raises:
        ConfigError: It is anything else, or not within `low` and `high`.
    """
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
