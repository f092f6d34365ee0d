"""Sources for tests that cost nothing to sample from."""

from __future__ import annotations

import numpy as np

from defect_synth.samples import DefectSample, Provenance


class Dots:
    """Random 8 x 8 pictures, for free."""

    category = "nut"
    defects = ("cut", "hole")

    def __init__(self, digest="dots"):
        self.digest = digest
        self.drawn = 0

    def sample(self, defect, seeds):
        samples = []
        for seed in seeds:
            rng = np.random.default_rng((seed, len(defect)))
            image, clean = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
            mask = (rng.random((8, 8)) < 0.3).astype(np.uint8)
            origin = Provenance("dots", self.category, defect, seed, self.digest, {"psi": 0.5})
            samples.append(DefectSample(image, mask, defect, origin, clean))
        self.drawn += len(samples)
        return samples


def tree(folder):
    """Relative path -> bytes of every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
