"""MVTec AD layout: `test/<defect>/`, `ground_truth/<defect>/`, and clean images in `train/good/` and `test/good/`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.export.labels import GOOD, label_numbers
from defect_synth.export.objects import Objects, held_out
from defect_synth.samples import DefectSample, mask_to_pixels

log = logging.getLogger(__name__)


def write_mvtec(folder: Path, samples: Iterable[DefectSample], defects: Sequence[str]) -> int:
    """Write `folder/<category>`; returns the number of samples.

    Each clean image is written once: every fifth one in `test/good`, the others in `train/good`. A source may show few
    objects; how many there are is logged.
    """
    label_numbers(defects)
    objects, numbers, normals = Objects(), Counter[str](), Counter[str]()
    with replacing_folder(folder) as partial:
        for sample in samples:
            name = f"{numbers[sample.defect]:06d}"
            root = partial / sample.provenance.category
            write_png(root / "test" / sample.defect / f"{name}.png", sample.image)
            write_png(root / "ground_truth" / sample.defect / f"{name}_mask.png", mask_to_pixels(sample.mask))
            number, is_new = objects.add(sample)
            if sample.clean is not None and is_new:
                part = "test" if held_out(number) else "train"
                write_png(root / part / GOOD / f"{sample.defect}_{name}.png", sample.clean)
                normals[part] += 1
            numbers[sample.defect] += 1
    log.log(
        logging.INFO if normals.total() == numbers.total() else logging.WARNING,
        "%d samples show %d different normal images: %d in train/good, %d in test/good%s",
        numbers.total(), normals.total(), normals["train"], normals["test"],
        "" if all(normals[part] for part in ("train", "test")) else "; add normal images of your own",
    )  # fmt: skip
    return numbers.total()
