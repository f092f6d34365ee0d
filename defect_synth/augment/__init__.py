"""Defects on the user's own images."""

from defect_synth.augment.augmenter import GOOD, AugmentedImage, DefectAugmenter
from defect_synth.augment.settings import Placement, Range

__all__ = ["GOOD", "AugmentedImage", "DefectAugmenter", "Placement", "Range"]
