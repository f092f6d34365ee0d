"""LabelMe: one JSON file beside each image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.export.outlines import polygons
from defect_synth.export.writing import json_text, write_text
from defect_synth.samples import DefectSample


def write_labelme(folder: Path, samples: Iterable[DefectSample]) -> int:
    """Write a polygon labelled with the defect for each component of a mask; returns the number of samples."""
    count = 0
    with replacing_folder(folder) as partial:
        for count, sample in enumerate(samples, start=1):
            height, width = sample.mask.shape
            name = f"{sample.defect}_{count:06d}"
            write_png(partial / f"{name}.png", sample.image)
            shapes: list[dict[str, object]] = [
                {"label": sample.defect, "points": [list(point) for point in ring], "group_id": None,
                 "shape_type": "polygon", "flags": {}}
                for ring in polygons(sample.mask)
            ]  # fmt: skip
            content = {
                "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None,
                "imageHeight": height, "imageWidth": width,
            }  # fmt: skip
            write_text(partial / f"{name}.json", json_text(content))
    return count
