"""Defects on the user's own images."""

from defect_synth.augment.augmenter import GOOD, DefectAugmenter, Painted
from defect_synth.augment.settings import Placement, Range

__all__ = ["GOOD", "DefectAugmenter", "Painted", "Placement", "Range"]
