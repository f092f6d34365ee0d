"""The training images of a painter, new masks for them, and what goes into its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defect_synth.engine.checkpoint import library_versions
from defect_synth.painter.checkpoint import PainterCard, save_painter
from defect_synth.painter.config import PainterConfig
from defect_synth.painter.network import PainterModel
from defect_synth.painter.product_assets import is_grey, pack
from defect_synth.painter.quality_check import statistics
from defect_synth.painter.training_batches import PainterBatches
from defect_synth.painter.training_images import DefectImage, NormalImage, cut_exemplars
from defect_synth.product.exemplar import Exemplar, reference_side
from defect_synth.product.foreground import find_foreground
from defect_synth.product.locations import Weights
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.shapes import DefectShape
from defect_synth.product.surroundings import learn_surroundings
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels, content_digest


@dataclass(frozen=True, eq=False)
class PainterTrainingSet:
    """The images of a category, ready for training.

    Attributes:
        category: Object category.
        batches: Views of the images, batched by iteration.
        shapes: Defect category -> its masks, relative to the product.
        symmetry: How the product may be moved.
        digest: Identifies the images.
        config: Settings of the whole run.
    """

    category: str
    batches: PainterBatches
    shapes: Mapping[str, Sequence[DefectShape]]
    symmetry: Symmetry
    digest: str
    config: PainterConfig

    @classmethod
    def of(
        cls,
        category: str,
        normals: Sequence[NormalImage],
        defects: Mapping[str, Sequence[DefectImage]],
        symmetry: Symmetry,
        config: PainterConfig,
    ) -> PainterTrainingSet:
        """Prepare images that are in memory.

        Args:
            category: Object category.
            normals: At least one that is not synthetic.
            defects: Defect category -> its images, each at least one that is not synthetic.
            symmetry: How the product may be moved.
            config: Settings of the whole run.
        """
        shapes = {
            name: [DefectShape.of(item.mask, find_foreground(item.image)) for item in items]
            for name, items in defects.items()
        }
        masks = MaskSource(shapes, symmetry, category)
        real = [n for n in normals if not n.synthetic]
        reference, side = reference_side([n.image for n in real]), config.model.side
        exemplars = {name: cut_exemplars(items, side, reference) for name, items in defects.items()}
        grey = all(map(is_grey, [*(n.image for n in real), *(i.image for items in defects.values() for i in items)]))
        propose = _MaskProposals(masks, exemplars, real, side, reference)
        batches = PainterBatches(normals, defects, config.model, symmetry, propose, config.seed, grey=grey)
        return cls(category, batches, shapes, symmetry, _digest(category, normals, defects), config)

    @property
    def num_images(self) -> int:
        """How many images there are."""
        return len(self.batches.normals) + sum(map(len, self.shapes.values()))

    def save_painter(self, path: Path, network: PainterModel, kimg: float, features: str) -> None:
        """Write a trained painter, which `Painter.load` opens.

        Args:
            path: A `.safetensors` file.
            network: The averaged networks.
            kimg: Thousands of views that they have seen.
            features: Which frozen features the discriminators saw.

        Raises:
            OutputError: The file cannot be written.
        """
        card = PainterCard(
            model=self.config.model, category=self.category, defects=self.batches.defects,
            reference=self.batches.reference, product=self._product(), trained_kimg=kimg,
            discriminator_features=features, versions=library_versions(),
            training=self.config.model_dump(mode="json", exclude={"model"}) | {"data_digest": self.digest},
        )  # fmt: skip
        save_painter(path, card, network.state_dict(), self._assets())

    def _product(self) -> dict[str, Any]:
        """What `product_assets` reads besides images, as plain values."""
        exemplars = self.batches.exemplars
        return {
            "symmetry": self.symmetry.to_json(),
            "donor_scales": {name: [e.scale for e in items] for name, items in exemplars.items()},
            "shapes": {
                name: [
                    {"offset": list(s.offset), "radius": s.radius, "inside": s.inside, "margin": s.margin}
                    for s in self.shapes[name]
                ]
                for name in exemplars
            },
            "statistics": {name: [statistics(e.image, e.mask) for e in items] for name, items in exemplars.items()},
        }

    def _assets(self) -> dict[str, Tensor]:
        """Images that `product_assets` reads, as PNG bytes."""
        assets: dict[str, Tensor] = {}
        real = [n for n in self.batches.normals if not n.synthetic]
        for i, normal in enumerate(real[: self.config.kept_normals]):
            assets[f"normal.{i:03d}"] = _png(normal.image)
            assets[f"foreground.{i:03d}"] = _png(normal.foreground.astype(np.uint8) * np.uint8(255))
        for name, exemplars in self.batches.exemplars.items():
            for k, exemplar in enumerate(exemplars):
                assets[f"donor.{name}.{k:03d}"] = _png(exemplar.image)
                assets[f"donor_mask.{name}.{k:03d}"] = _png(exemplar.mask * np.uint8(255))
            for k, shape in enumerate(self.shapes[name]):
                assets[f"shape.{name}.{k:03d}"] = _png(shape.mask * np.uint8(255))
        return assets


class _MaskProposals:
    """New masks on normal images, placed as the painter will place them; what depends on the image alone is cached."""

    def __init__(
        self,
        masks: MaskSource,
        exemplars: Mapping[str, Sequence[Exemplar]],
        normals: Sequence[NormalImage],
        side: int,
        reference: int,
    ) -> None:
        self._masks = masks
        self._surroundings = learn_surroundings(
            masks.symmetry, exemplars, [(n.image, n.foreground) for n in normals], side, reference
        )
        self._cached: dict[tuple[str, int], Weights | None] = {}

    def __call__(self, defect: str, normal: NormalImage, seed: int) -> Pixels:
        weights = None
        if self._surroundings is not None:
            key = defect, id(normal)  # the images outlive this
            if key not in self._cached:
                self._cached[key] = self._surroundings.weights(defect, normal.image)
            weights = self._cached[key]
        return self._masks.propose(defect, normal.foreground, seed, weights)


def _digest(category: str, normals: Sequence[NormalImage], defects: Mapping[str, Sequence[DefectImage]]) -> str:
    arrays = [n.image for n in normals]
    for name in sorted(defects):
        arrays += [array for item in defects[name] for array in (item.image, item.mask)]
    return content_digest(category, arrays)


def _png(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pack(pixels))
