"""The training images of a painter, new masks for them, and what goes into its checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from defect_synth.engine.checkpoint import library_versions
from defect_synth.painter.checkpoint import PainterCard, save_painter
from defect_synth.painter.config import PainterConfig
from defect_synth.painter.mask_proposals import MaskProposals, measured_shape
from defect_synth.painter.network import PainterModel
from defect_synth.painter.product_assets import is_grey, pack_product_assets
from defect_synth.painter.training_batches import PainterBatches
from defect_synth.painter.training_images import DefectImage, NormalImage, cut_exemplars
from defect_synth.product.arrangement import Arrangement
from defect_synth.product.exemplar import reference_side
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.pose import PoseFinder
from defect_synth.product.shapes import DefectShape
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import content_digest


@dataclass(frozen=True, eq=False)
class PainterTrainingSet:
    """The images of a category, ready for training.

    Attributes:
        category: Object category.
        batches: Views of the images, batched by iteration.
        shapes: Defect category -> its masks, relative to the product.
        symmetry: How the product may be moved.
        poses: Finds how products lie; None: they lie alike, or have no pose that can be found.
        digest: Identifies the images.
        config: Settings of the whole run.
    """

    category: str
    batches: PainterBatches
    shapes: Mapping[str, Sequence[DefectShape]]
    symmetry: Symmetry
    poses: PoseFinder | None
    digest: str
    config: PainterConfig

    @classmethod
    def of(
        cls,
        category: str,
        normals: Sequence[NormalImage],
        defects: Mapping[str, Sequence[DefectImage]],
        arrangement: Arrangement,
        config: PainterConfig,
    ) -> PainterTrainingSet:
        """Prepare images that are in memory.

        Args:
            category: Object category.
            normals: At least one that is not synthetic.
            defects: Defect category -> its images, each at least one that is not synthetic.
            arrangement: How products lie.
            config: Settings of the whole run.
        """
        real = [n for n in normals if not n.synthetic]
        symmetry, poses = arrangement.symmetry, arrangement.poses
        shapes = {name: [measured_shape(item, poses) for item in items] for name, items in defects.items()}
        masks = MaskSource(shapes, symmetry, category, None if poses is None else poses.looks_alike)
        reference, side = reference_side([n.image for n in real]), config.model.side
        exemplars = {name: cut_exemplars(items, side, reference) for name, items in defects.items()}
        grey = all(map(is_grey, [*(n.image for n in real), *(i.image for items in defects.values() for i in items)]))
        propose = MaskProposals(masks, exemplars, real, side, reference, poses)
        batches = PainterBatches(normals, defects, config.model, symmetry, propose, config.seed, grey=grey)
        return cls(category, batches, shapes, symmetry, poses, _digest(category, normals, defects), config)

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
            self.symmetry, self.shapes, self.batches.exemplars, normals[: self.config.kept_normals], self.poses
        )
        card = PainterCard(
            model=self.config.model, category=self.category, defects=self.batches.defects,
            reference=self.batches.reference, product=product, trained_kimg=kimg,
            discriminator_features=features, versions=library_versions(),
            training=self.config.model_dump(mode="json", exclude={"model"}) | {"data_digest": self.digest},
        )  # fmt: skip
        save_painter(path, card, network.state_dict(), {name: torch.from_numpy(png) for name, png in images.items()})


def _digest(category: str, normals: Sequence[NormalImage], defects: Mapping[str, Sequence[DefectImage]]) -> str:
    arrays = [n.image for n in normals]
    for name in sorted(defects):
        arrays += [array for item in defects[name] for array in (item.image, item.mask)]
    return content_digest(category, arrays)
