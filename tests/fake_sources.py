"""Sources for tests that cost nothing to sample from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from defect_synth.errors import UnknownDefectError
from defect_synth.samples import DefectSample, Provenance

SIZE = 16
DEFECTS = ("crack", "cut", "hole")


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


class NoiseSource:
    """Sample = noise that depends on (defect, seed); the mask is a square; counts its calls."""

    category = "hazelnut"
    defects = DEFECTS
    digest = "noise-1"

    def __init__(self, pairs: bool = True, method: str = "noise") -> None:
        self.pairs = pairs
        self.method = method
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def sample(self, defect, seeds):
        if defect not in self.defects:
            raise UnknownDefectError(defect, self.category, self.defects)
        self.calls.append((defect, tuple(seeds)))
        return [self.one(defect, seed) for seed in seeds]

    def one(self, defect: str, seed: int) -> DefectSample:
        rng = np.random.default_rng([DEFECTS.index(defect), seed])
        clean = rng.integers(0, 200, (SIZE, SIZE, 3), dtype=np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        top, left = rng.integers(0, SIZE - 4, 2)
        mask[top : top + 4, left : left + 4] = 1
        image = clean + mask[..., None] * np.uint8(55)
        provenance = Provenance(self.method, self.category, defect, seed, self.digest, {"strength": 55})
        return DefectSample(image, mask, defect, provenance, clean if self.pairs else None)


def write_generated(root: Path, source: NoiseSource, seeds: dict[str, list[int]]) -> Path:
    """What `defect-synth generate` leaves behind, written independently of the reader."""
    folder = root / source.category
    lines = []
    for defect, of_defect in seeds.items():
        for number, seed in enumerate(of_defect):
            sample = source.one(defect, seed)
            names = {
                "image": f"test/{defect}/{number:06d}.png",
                "mask": f"ground_truth/{defect}/{number:06d}_mask.png",
                "clean": f"clean/{defect}/{number:06d}.png",
            }
            for name, pixels in zip(names.values(), (sample.image, sample.mask * 255, sample.clean), strict=True):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / name)
            lines.append(json.dumps(sample.provenance.to_json() | names))
    (folder / "provenance.jsonl").write_text("\n".join(lines) + "\n")
    return folder
