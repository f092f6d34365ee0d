"""New masks for the normal images that a painter trains on, and how real masks are measured for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from defect_synth.painter.training_images import DefectImage, NormalImage
from defect_synth.product.exemplar import Exemplar
from defect_synth.product.foreground import find_foreground
from defect_synth.product.locations import Weights
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.pose import Part, PoseFinder, choose_part, part_of_mask
from defect_synth.product.shapes import DefectShape
from defect_synth.product.surroundings import learn_surroundings
from defect_synth.samples import Pixels


class MaskProposals:
    """New masks on normal images, placed as the painter will place them; what depends on the image alone is cached.

    Args:
        masks: Makes masks for each defect.
        exemplars: Defect category -> its real defects with their surroundings.
        normals: Normal images that are not synthetic, at least one.
        side: Side of the painter's views, in pixels.
        reference: The longer side of a typical training image, in pixels.
        poses: Finds how products lie; None: they lie alike, or have no pose that can be found.
    """

    def __init__(
        self,
        masks: MaskSource,
        exemplars: Mapping[str, Sequence[Exemplar]],
        normals: Sequence[NormalImage],
        side: int,
        reference: int,
        poses: PoseFinder | None,
    ) -> None:
        self._masks, self._finder = masks, poses
        self._surroundings = learn_surroundings(
            masks.symmetry, exemplars, [(n.image, n.foreground) for n in normals], side, reference
        )
        self._cached: dict[tuple[str, int], Weights | None] = {}
        self._parts: dict[int, list[Part]] = {}

    def __call__(self, defect: str, normal: NormalImage, seed: int) -> Pixels:
        """A new mask for a defect on a normal image: uint8 [H, W] in {0, 1}, not empty."""
        weights = None
        if self._surroundings is not None:
            key = defect, id(normal)  # the images outlive this
            if key not in self._cached:
                self._cached[key] = self._surroundings.weights(defect, normal.image)
            weights = self._cached[key]
        if self._finder is None:
            return self._masks.propose(defect, normal.foreground, seed, weights)
        if id(normal) not in self._parts:
            self._parts[id(normal)] = self._finder.find_all(normal.image, normal.foreground)
        part = choose_part(self._parts[id(normal)], seed)
        return self._masks.propose(defect, part.foreground, seed, weights, part.pose)


def measured_shape(item: DefectImage, poses: PoseFinder | None) -> DefectShape:
    """A real mask, measured on where the product would be without the defect if its pose is known."""
    foreground = find_foreground(item.image)
    if poses is None:
        return DefectShape.of(item.mask, foreground)
    part = part_of_mask(poses.find_all(item.image, foreground), item.mask)
    expected = poses.expected(part.pose, foreground.shape) if part.pose.is_reliable else part.foreground
    return DefectShape.of(item.mask, expected if expected.any() else foreground, part.pose)
