"""COCO instances: `images/` and `annotations/instances.json` with run-length encoded masks, which are always exact.

The same annotations as polygons are in `annotations_polygons/instances.json`. Clean images have no annotations; each is
written once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from defect_synth.atomic import replacing_folder
from defect_synth.data.png import write_png
from defect_synth.export.labels import GOOD, label_numbers
from defect_synth.export.objects import Objects
from defect_synth.export.outlines import box, polygons, run_lengths
from defect_synth.export.writing import json_text, write_text
from defect_synth.samples import DefectSample


def write_coco(folder: Path, samples: Iterable[DefectSample], defects: Sequence[str]) -> int:
    """Write one annotation per image, for the whole mask, unless that is empty; returns the number of samples."""
    numbers, objects, category = label_numbers(defects), Objects(), ""
    images: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    rings: list[dict[str, Any]] = []
    cleans: list[dict[str, Any]] = []
    count = 0
    with replacing_folder(folder) as partial:
        for number, sample in enumerate(samples, start=1):
            count, category = number, sample.provenance.category
            height, width = sample.mask.shape
            name = f"{sample.defect}_{number:06d}.png"
            write_png(partial / "images" / name, sample.image)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            if objects.add(sample)[1] and sample.clean is not None:
                write_png(partial / "images" / f"clean_{name}", sample.clean)
                cleans.append({"file_name": f"clean_{name}", "height": height, "width": width})
            if not sample.mask.any():
                continue
            shared = {
                "id": number, "image_id": number, "category_id": numbers[sample.defect],
                "bbox": list(box(sample.mask)), "area": int(sample.mask.sum()),
            }  # fmt: skip
            size = [height, width]
            runs.append({**shared, "iscrowd": 0, "segmentation": {"size": size, "counts": run_lengths(sample.mask)}})
            flat = [[value for point in ring for value in point] for ring in polygons(sample.mask)]
            rings.append({**shared, "iscrowd": 0, "segmentation": flat})
        images += [{"id": number, **clean} for number, clean in enumerate(cleans, start=count + 1)]
        categories = [
            {"id": number, "name": name, "supercategory": "defect"} for name, number in numbers.items() if name != GOOD
        ]
        for place, annotations in (("annotations", runs), ("annotations_polygons", rings)):
            content = {
                "info": _info(category),
                "licenses": [],
                "images": images,
                "annotations": annotations,
                "categories": categories,
            }
            write_text(partial / place / "instances.json", json_text(content))
    return count


def _info(category: str) -> dict[str, str]:
    """What the file is; without a date, since the same samples are the same bytes."""
    from defect_synth import __version__

    about = f"defects of {category}" if category else "no samples"
    return {"description": f"{about}, exported by defect-synth", "version": __version__, "contributor": "defect-synth"}
