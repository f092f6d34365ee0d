"""What a user may set, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import ConfigError, DataError

Placement = Literal["auto", "aligned", "object", "anywhere"]
Range = float | tuple[float, float]


def marked(name: str, mask: Any) -> NDArray[Any]:
    """`mask`, if it is an array [H, W] that marks something; DataError otherwise."""
    if not isinstance(mask, np.ndarray) or mask.ndim != 2:
        found = list(mask.shape) if isinstance(mask, np.ndarray) else type(mask).__name__
        raise DataError(f"{name} must be an array [H, W], got {found}")
    if not mask.any():
        raise DataError(f"the {name} is empty; mark where a defect may be")
    return mask


def limits(name: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """A number or a range as (low, high) within bounds; ConfigError otherwise."""
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
