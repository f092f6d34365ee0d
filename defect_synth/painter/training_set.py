"""The training images of a painter, new masks for them, and what goes into its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from defect_synth.engine.checkpoint import library_versions
from defect_synth.painter.checkpoint import PainterCard, save_painter
from defect_synth.painter.config import PainterConfig
from defect_synth.painter.network import PainterModel
from defect_synth.painter.product_assets import is_grey, pack_product_assets
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
        normals = [(n.image, n.foreground) for n in self.batches.normals if not n.synthetic]
        product, images = pack_product_assets(
            self.symmetry, self.shapes, self.batches.exemplars, normals[: self.config.kept_normals]
        )
        card = PainterCard(
            model=self.config.model, category=self.category, defects=self.batches.defects,
            reference=self.batches.reference, product=product, trained_kimg=kimg,
            discriminator_features=features, versions=library_versions(),
            training=self.config.model_dump(mode="json", exclude={"model"}) | {"data_digest": self.digest},
        )  # fmt: skip
        save_painter(path, card, network.state_dict(), {name: torch.from_numpy(png) for name, png in images.items()})


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
