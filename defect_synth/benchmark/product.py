"""The embedded product as the benchmark uses it, and the model that the package ships for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from safetensors import SafetensorError, safe_open

from defect_synth.benchmark.protocol import Product
from defect_synth.data.layouts import Table, index
from defect_synth.demo.hazelnut import CATEGORY, DEFECTS, write_demo
from defect_synth.errors import ConfigError

PRODUCT_SEED = 7
"""Seed of the benchmark's nuts. What the package ships learnt from other seeds of `write_demo`; they share no nut."""


def embedded_product(
    category: str, output: Path, side: int, product: Product, progress: Callable[[int, int], None]
) -> Table:
    """Draw the product into `output`, once.

    Args:
        category: `hazelnut`.
        output: The benchmark's folder.
        side: Of the images.
        product: How many.
        progress: Called with (done, total).

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


def shipped_dfmgan(side: int) -> dict[str, Path] | None:
    """The package's DFMGANs of the embedded product, defect -> checkpoint; None without one for each at this size.

    A file may hold one defect, or several (`packed`).
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
        if _other_nuts(path):
            found |= dict.fromkeys(info.get("defects") or [info["defect"]], path)
    return found if set(found) == set(DEFECTS) else None


def shipped_painter() -> Path | None:
    """The package's painter of the embedded product, if there is one."""
    path = _models() / "demo_painter.safetensors"
    return path if path.is_file() and _other_nuts(path) else None


def _other_nuts(path: Path) -> bool:
    """Whether the card beside a shipped file shows that it learnt from another seed of `write_demo` than ours."""
    try:
        seed = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["images"]["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return type(seed) is int and seed != PRODUCT_SEED


def _models() -> Path:
    return Path(str(resources.files("defect_synth"))) / "demo" / "models"
