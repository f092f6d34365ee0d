"""Defects on the user's own images."""

from defect_synth.augmenter.augmenter import GOOD, DefectAugmenter, Painted
from defect_synth.augmenter.settings import Placement, Range

__all__ = ["GOOD", "DefectAugmenter", "Painted", "Placement", "Range"]
