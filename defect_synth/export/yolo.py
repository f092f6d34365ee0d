"""YOLO segmentation: `images/train`, `labels/train` with one polygon per line, `data.yaml`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.export.outlines import polygons
from defect_synth.export.writing import write_text
from defect_synth.samples import DefectSample


def write_yolo(folder: Path, samples: Iterable[DefectSample]) -> int:
    """Write polygons with coordinates relative to width and height; classes are numbered in order of appearance.

    Returns the number of samples.
    """
    class_numbers: dict[str, int] = {}
    count = 0
    with replacing_folder(folder) as partial:
        for count, sample in enumerate(samples, start=1):
            height, width = sample.mask.shape
            class_number = class_numbers.setdefault(sample.defect, len(class_numbers))
            name = f"{sample.defect}_{count:06d}"
            write_png(partial / "images" / "train" / f"{name}.png", sample.image)
            lines = [
                " ".join([str(class_number), *(f"{x / width:.6f} {y / height:.6f}" for x, y in ring)])
                for ring in polygons(sample.mask)
            ]
            write_text(partial / "labels" / "train" / f"{name}.txt", "".join(line + "\n" for line in lines))
        names = "".join(f"  {number}: {json.dumps(name)}\n" for name, number in class_numbers.items())
        write_text(partial / "data.yaml", f"path: .\ntrain: images/train\nval: images/train\nnames:\n{names}")
    return count
