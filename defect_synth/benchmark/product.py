"""The embedded product as the benchmark uses it, and the models that the package ships for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from defect_synth.benchmark.protocol import EmbeddedProduct
from defect_synth.data.layouts import Table, index
from defect_synth.demo.hazelnut import CATEGORY, DEFECTS, write_demo
from defect_synth.errors import ConfigError

PRODUCT_SEED = 7
"""Seed of the benchmark's hazelnuts. Shipped models were trained on other seeds of `write_demo`, so on other nuts."""


class ShippedModels(NamedTuple):
    """Models of the package that are used instead of training, where there are any.

    Attributes:
        dfmgan: Defect -> checkpoint, or None.
        painter: The painter's file, or None.
    """

    dfmgan: dict[str, Path] | None = None
    painter: Path | None = None


def embedded_product(
    category: str, output: Path, side: int, product: EmbeddedProduct, progress: Callable[[int, int], None]
) -> Table:
    """Draw the embedded product into `output`, unless it is there already.

    Args:
        category: `hazelnut`.
        output: Folder of the benchmark.
        side: Side of the images in pixels.
        product: Numbers of images.
        progress: Called with (images done, images in all).

    Raises:
        ConfigError: There is no such embedded product.
    """
    if category != CATEGORY:
        raise ConfigError(f"the embedded product is {CATEGORY!r}; for {category!r} give your images with --data")
    folder = output / f"product-{side}-{product.good}-{product.test_good}-{product.per_defect}"
    if not (folder / CATEGORY).is_dir():
        write_demo(
            folder, resolution=side, good=product.good, test_good=product.test_good, per_defect=product.per_defect,
            seed=PRODUCT_SEED, progress=progress,
        )  # fmt: skip
    return index(folder, CATEGORY)


def shipped_models(side: int) -> ShippedModels:
    """The models of the package for the embedded product at this resolution."""
    return ShippedModels(shipped_dfmgan(side), shipped_painter())


def shipped_dfmgan(side: int) -> dict[str, Path] | None:
    """The package's DFMGAN of each defect of the embedded product; None if one is missing at this resolution.

    A file holds one defect, or several of them (a bundle).
    """
    found: dict[str, Path] = {}
    for path in sorted(_models().glob("**/*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                info = json.loads((file.metadata() or {}).get("defect_synth", "{}"))
        except (SafetensorError, OSError, ValueError):
            continue
        if info.get("kind") not in ("dfmgan", "dfmgan-set") or info["model"]["backbone"]["resolution"] != side:
            continue
        if _trained_on_other_seed(path):
            found |= dict.fromkeys(info.get("defects") or [info["defect"]], path)
    return found if set(found) == set(DEFECTS) else None


def shipped_painter() -> Path | None:
    """The package's painter of the embedded product, or None."""
    path = _models() / "demo_painter.safetensors"
    return path if path.is_file() and _trained_on_other_seed(path) else None


def _trained_on_other_seed(path: Path) -> bool:
    """Whether the card beside a shipped model shows that it was trained on another seed of `write_demo`."""
    try:
        seed = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["images"]["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return type(seed) is int and seed != PRODUCT_SEED


def _models() -> Path:
    return Path(str(resources.files("defect_synth"))) / "demo" / "models"
