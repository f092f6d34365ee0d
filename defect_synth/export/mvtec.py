"""MVTec AD layout: `test/<defect>/`, `ground_truth/<defect>/`, and the paired clean images as `train/good/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from defect_synth.export.writing import new_folder, png, put
from defect_synth.samples import DefectSample


def write_mvtec(folder: Path, samples: Iterable[DefectSample]) -> int:
    """Write `folder/<category>`; clean images, where there are any, are its `train/good`."""
    numbers: Counter[str] = Counter()
    with new_folder(folder) as partial:
        for sample in samples:
            name = f"{numbers[sample.defect]:06d}"
            root = partial / sample.provenance.category
            put(root / "test" / sample.defect / f"{name}.png", png(sample.image))
            put(root / "ground_truth" / sample.defect / f"{name}_mask.png", png(sample.mask * np.uint8(255)))
            if sample.clean is not None:
                put(root / "train" / "good" / f"{sample.defect}_{name}.png", png(sample.clean))
            numbers[sample.defect] += 1
    return numbers.total()
