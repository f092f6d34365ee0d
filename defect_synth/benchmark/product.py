"""The embedded product as the benchmark uses it, and the models that the package ships for it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from defect_synth.benchmark.protocol import EmbeddedProduct
from defect_synth.data.layouts import Table, index
from defect_synth.data.png import png_size
from defect_synth.demo import models
from defect_synth.demo.hazelnut import CATEGORY, DEFECTS
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.engine.checkpoint import read_card
from defect_synth.errors import ConfigError

log = logging.getLogger(__name__)

PRODUCT_SEED = 7
"""Seed of the benchmark's hazelnuts. Shipped models were trained on other seeds of `write_demo`, so on other nuts."""


class ShippedModels(NamedTuple):
    """Models of the package that are used instead of training, where there are any.

    Attributes:
        dfmgan: File with the DFMGAN of every defect, or None.
        painter: File of the painter, or None.
    """

    dfmgan: Path | None = None
    painter: Path | None = None


def embedded_product(
    category: str, output: Path, side: int, product: EmbeddedProduct, progress: Callable[[int, int], None]
) -> Table:
    """Draw the embedded product into `output`, unless it is there already and whole.

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
    if not _is_drawn(folder / CATEGORY, side, product):
        if (folder / CATEGORY).exists():
            log.warning("%s: images are missing or damaged; all are drawn again", folder)
            shutil.rmtree(folder / CATEGORY, ignore_errors=True)
        write_demo(
            folder, resolution=side, good=product.good, test_good=product.test_good, per_defect=product.per_defect,
            seed=PRODUCT_SEED, progress=progress,
        )  # fmt: skip
    return index(folder, CATEGORY)


def _is_drawn(folder: Path, side: int, product: EmbeddedProduct) -> bool:
    """Whether all images of the product are in its folder, undamaged."""
    counts = {"train/good": product.good, "test/good": product.test_good}
    for defect in DEFECTS:
        counts |= {f"test/{defect}": product.per_defect, f"ground_truth/{defect}": product.per_defect}
    files = {place: list((folder / place).glob("*.png")) for place in counts}
    return all(len(files[place]) == count for place, count in counts.items()) and all(
        png_size(file) == (side, side) for found in files.values() for file in found
    )


def shipped_models(side: int) -> ShippedModels:
    """The package's DFMGAN, if it draws images of this side, and its painter.

    Both only if the cards beside them show that they were not trained on the benchmark's images.

    Raises:
        CheckpointError: The installation is incomplete.
    """
    dfmgan, painter = models.shipped_dfmgan(), models.shipped_painter()
    card = read_card(dfmgan, DFMGANCard)
    usable = card.model.backbone.resolution == side and set(card.defects) == set(DEFECTS)
    return ShippedModels(
        dfmgan=dfmgan if usable and _trained_on_other_seed(dfmgan) else None,
        painter=painter if _trained_on_other_seed(painter) else None,
    )


def _trained_on_other_seed(path: Path) -> bool:
    """Whether the card beside a shipped model shows that it was trained on another seed of `write_demo`."""
    try:
        seed = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["images"]["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return type(seed) is int and seed != PRODUCT_SEED
