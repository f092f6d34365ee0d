"""LabelMe: one JSON file beside each image, and `labels.txt`, whose lines its own converters number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.export.labels import GOOD, label_numbers
from defect_synth.export.outlines import polygons
from defect_synth.export.writing import json_text, write_text
from defect_synth.samples import DefectSample


def write_labelme(folder: Path, samples: Iterable[DefectSample], defects: Sequence[str]) -> int:
    """Write a polygon for each connected part of a defect; those of one defect share a `group_id`.

    Returns the number of samples.
    """
    names = [name for name in label_numbers(defects) if name != GOOD]
    count = 0
    with replacing_folder(folder) as partial:
        for count, sample in enumerate(samples, start=1):
            height, width = sample.mask.shape
            name = f"{sample.defect}_{count:06d}"
            write_png(partial / f"{name}.png", sample.image)
            rings = polygons(sample.mask)
            shapes: list[dict[str, object]] = [
                {"label": sample.defect, "points": [list(point) for point in ring],
                 "group_id": 1 if len(rings) > 1 else None, "shape_type": "polygon", "flags": {}}
                for ring in rings
            ]  # fmt: skip
            content = {
                "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None,
                "imageHeight": height, "imageWidth": width,
            }  # fmt: skip
            write_text(partial / f"{name}.json", json_text(content))
        # The converters count these lines from -1, so that the first defect has number 1.
        write_text(partial / "labels.txt", "\n".join(["__ignore__", "_background_", *names]) + "\n")
    return count
