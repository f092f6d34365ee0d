"""MVTec AD layout: `test/<defect>/`, `ground_truth/<defect>/`, and the clean images as `train/good/`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.samples import DefectSample, mask_to_pixels


def write_mvtec(folder: Path, samples: Iterable[DefectSample]) -> int:
    """Write `folder/<category>`; returns the number of samples."""
    numbers: Counter[str] = Counter()
    with replacing_folder(folder) as partial:
        for sample in samples:
            name = f"{numbers[sample.defect]:06d}"
            root = partial / sample.provenance.category
            write_png(root / "test" / sample.defect / f"{name}.png", sample.image)
            write_png(root / "ground_truth" / sample.defect / f"{name}_mask.png", mask_to_pixels(sample.mask))
            if sample.clean is not None:
                write_png(root / "train" / "good" / f"{sample.defect}_{name}.png", sample.clean)
            numbers[sample.defect] += 1
    return numbers.total()
