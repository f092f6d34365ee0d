"""YOLO segmentation: `images/` and `labels/` in `train/` and `val/`, one line per defect, and `data.yaml`."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.export.labels import label_numbers
from defect_synth.export.objects import Objects, held_out
from defect_synth.export.outlines import joined_polygon
from defect_synth.export.writing import write_text
from defect_synth.samples import DefectSample

log = logging.getLogger(__name__)


def write_yolo(folder: Path, samples: Iterable[DefectSample], defects: Sequence[str]) -> int:
    """Write each defect as one polygon with coordinates relative to width and height; returns the number of samples.

    The samples of every fifth object are for validation, so that no object is in both parts. `data.yaml` has no `path`:
    Ultralytics then takes its own folder, wherever that is.
    """
    numbers, objects, parts = label_numbers(defects), Objects(), Counter[str]()
    with replacing_folder(folder) as partial:
        for count, sample in enumerate(samples, start=1):
            height, width = sample.mask.shape
            name = f"{sample.defect}_{count:06d}"
            part = "val" if held_out(objects.add(sample)[0]) else "train"
            parts[part] += 1
            write_png(partial / "images" / part / f"{name}.png", sample.image)
            ring = joined_polygon(sample.mask)
            points = "".join(f" {x / width:.6f} {y / height:.6f}" for x, y in ring)
            write_text(partial / "labels" / part / f"{name}.txt", f"{numbers[sample.defect]}{points}\n" if ring else "")
        val = "val" if parts["val"] else "train"
        names = "".join(f"  {number}: {json.dumps(name, ensure_ascii=False)}\n" for name, number in numbers.items())
        write_text(partial / "data.yaml", f"train: images/train\nval: images/{val}\nnames:\n{names}")
    if val == "train":
        log.warning("all samples show one object, so data.yaml validates on the training images; give images of yours")
    return parts.total()
