"""The metadata item of a pipeline: what the user requests before `DefectSynth`, and what was painted after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment import GOOD, AugmentedImage
from defect_synth.data.records import COMBINED
from defect_synth.errors import DataError

REQUEST_KEYS = ("seed", "defect", "severity", "foreground", "mask", "region", "at")


def is_description(item: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a metadata item describes what an earlier transform painted, rather than being a request."""
    return isinstance(item, Mapping) and "label" in item


def read_request(item: Any) -> Mapping[str, Any]:
    """What the user wants painted; empty if the item is absent or a description.

    Raises:
        DataError: The item is not a dict, or has an unknown key or an invalid seed.
    """
    if item is None or is_description(item):
        return {}
    if not isinstance(item, Mapping) or not set(item) <= set(REQUEST_KEYS):
        found = ", ".join(map(str, item)) if isinstance(item, Mapping) else type(item).__name__
        raise DataError(f"the metadata item must be a dict with any of {', '.join(REQUEST_KEYS)}; got {found}")
    seed = item.get("seed", 0)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise DataError(f"seed in the metadata item must be a whole number from 0, got {seed!r}")
    return item


def describe(
    item: Any, result: AugmentedImage | None, label_to_index: Mapping[str, int], seed: int = 0
) -> dict[str, Any]:
    """The description of what was painted, which also covers what an earlier transform described in `item`.

    It has no coordinates: transforms that follow move masks, boxes and keypoints, but not this item.

    Args:
        item: The metadata item before this transform.
        result: What was painted; None: nothing.
        label_to_index: Label of each defect category, of "good" and of "combined".
        seed: The integer that all random choices follow from.
    """
    if is_description(item):
        description = dict(item)
    else:
        description = {"defect": GOOD, "label": 0, "count": 0, "severity": 0.0, "seed": seed}
    if result is None or not result.mask.any():
        return description
    defect = result.defect
    if description["count"]:  # an earlier DefectSynth of this pipeline painted, too
        defect = defect if defect == description["defect"] else COMBINED
    return {
        "defect": defect,
        "label": label_to_index.get(defect, label_to_index[COMBINED]),
        "count": description["count"] + int(result.parameters["count"]),
        "severity": float(result.parameters["severity"]),
        "seed": seed,
    }


def label_like(given: Any, description: Mapping[str, Any]) -> Any:
    """The label of a description in the type of a given one; the name of the defect if that is a text."""
    if isinstance(given, str):
        return description["defect"]
    if isinstance(given, np.ndarray | np.generic):
        return np.full_like(given, description["label"])[()]
    if type(given).__module__.partition(".")[0] == "torch":
        return given.new_full(tuple(given.shape), description["label"])
    return description["label"]


def mask_box(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Tight box (x0, y0, x1, y1) of a mask [H, W]."""
    x, y, width, height = cv2.boundingRect(mask)
    return int(x), int(y), int(x + width), int(y + height)
