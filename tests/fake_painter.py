"""A painter for tests, of two defects: a black square on a plain grey part."""

from __future__ import annotations

import numpy as np

from defect_synth.samples import DefectSample, Provenance

SIDE = 64


class FakePainter:
    """A `DefectPainter` and `DefectSource` that paints a black square of 12 pixels, moved by the seed."""

    category, defects, digest = "part", ("hole", "spot"), "painter"

    def propose_mask(self, defect, foreground, seed, image=None):
        mask = np.zeros(foreground.shape, np.uint8)
        at = 20 + seed % 8
        mask[at : at + 12, at : at + 12] = 1
        return mask

    def paint(self, image, mask, defect, seed):
        return np.where(mask[..., None] == 1, np.uint8(0), image)

    def sample(self, defect, seeds):
        out = []
        for seed in seeds:
            clean = np.full((SIDE, SIDE, 3), 180, np.uint8)
            mask = self.propose_mask(defect, np.ones((SIDE, SIDE), bool), seed)
            out.append(DefectSample(self.paint(clean, mask, defect, seed), mask, defect,
                                    Provenance("fake", "part", defect, seed), clean))  # fmt: skip
        return out
