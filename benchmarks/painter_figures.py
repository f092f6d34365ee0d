"""Copies, or new defects? `python benchmarks/painter_figures.py RUN DATA --features efficientnet-lite0.pth`.

Compares a painter that was trained with --partition with the defects that it has never seen: free paintings, paintings
from donors and, beside them, careful paste of the same base images. Measures the distance of defect crops to unseen
ones, memorisation, and the likeness of proposed masks to the base masks (intersection over union in the best
direction). Prints Markdown tables; --sheet writes contact sheets of the samples.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from defect_synth.augment import DefectAugmenter
from defect_synth.benchmark.sources import DefectsOnGoodImages
from defect_synth.compositor.bank import bank_from_samples
from defect_synth.data.layouts import index
from defect_synth.data.partitions import Partition
from defect_synth.data.store import ImageArrays, load
from defect_synth.engine.run_folder import PARTITION_FILE
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import FeatureExtractor, RandomFeatures
from defect_synth.metrics.quality import RealDefects, measure_quality
from defect_synth.painter import Painter
from defect_synth.product.foreground import find_foreground
from defect_synth.product.likeness import descriptors, likeness
from defect_synth.product.shapes import DefectShape
from defect_synth.samples import DefectSample, DefectSource, Provenance


def careful_paste(category: str, base: dict[str, ImageArrays], good: ImageArrays) -> DefectSource:
    """The arm of that name in the benchmark, on the same images."""
    cut = [
        DefectSample(image, mask, defect, Provenance("real", category, defect, i))
        for defect, arrays in base.items()
        for i, (image, mask) in enumerate(zip(arrays.images, arrays.masks, strict=True))
        if mask.any()
    ]
    bank = bank_from_samples(category, cut)
    each = {d: DefectAugmenter(bank, defects=(d,), severity=(0.8, 1.1), scale=(0.8, 1.25)) for d in base}
    return DefectsOnGoodImages(
        "careful_crop_paste", category, tuple(base), good.images, lambda i, d, r: each[d](i, r), bank.digest
    )


def novelty(masks: list[np.ndarray], base: ImageArrays) -> np.ndarray:
    """Quartiles of the likeness of masks to the base masks."""
    shapes = [
        DefectShape.of(mask, find_foreground(image))
        for image, mask in zip(base.images, base.masks, strict=True)
        if mask.any()
    ]
    known = descriptors(shapes)
    return np.quantile([likeness(mask, known) for mask in masks if mask.any()], [0.25, 0.5, 0.75])


def sheet(samples: list[DefectSample], path: Path, columns: int = 20) -> None:
    """Write one picture of all samples."""
    rows = [np.hstack([s.image for s in samples[i : i + columns]]) for i in range(0, len(samples), columns)]
    cv2.imwrite(str(path), np.vstack(rows)[:, :, ::-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--category")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    table = index(options.data, options.category)
    partition = Partition.load(options.run / PARTITION_FILE)
    partition.require_match(table)

    def of(part: str, defect: str) -> ImageArrays:
        records = [r for p in (("base", "validation") if part == "base" else ("test",))
                   for r in partition.records(table, p, defect)]  # fmt: skip
        return load(records, options.side, "letterbox")

    good = load(partition.records(table, "base", None)[:60], options.side, "letterbox")
    base = {defect: of("base", defect) for defect in table.defects}
    held_out = {defect: of("test", defect) for defect in table.defects}
    sources: dict[str, DefectSource] = {
        "painter, free": Painter.load(options.run, donor_prob=0.0, normals=list(good.images)),
        "painter, from donors": Painter.load(options.run, donor_prob=1.0, normals=list(good.images)),
        "careful paste": careful_paste(table.category, base, good),
    }
    extractors: list[FeatureExtractor] = [
        RandomFeatures() if options.features is None else EfficientNetLite0(options.features)
    ]
    real = {d: RealDefects(training=base[d], held_out=held_out[d]) for d in base}
    for name, source in sources.items():
        found = measure_quality(source, real, extractors, count=options.count, lpips_count=options.count, name=name)
        print(f"\n## {name}\n\n{found.table()}")
        for defect in base:
            samples = source.sample(defect, range(options.count))
            low, middle, high = novelty([s.mask for s in samples], base[defect])
            print(f"{defect}: likeness of masks to base masks {middle:.2f} ({low:.2f} to {high:.2f})")
            if options.sheet:
                options.sheet.mkdir(parents=True, exist_ok=True)
                sheet(samples, options.sheet / f"{name.replace(', ', '_').replace(' ', '_')}_{defect}.png")
    print("\n## held-out defects")
    for defect in base:
        low, middle, high = novelty(list(held_out[defect].masks), base[defect])
        print(f"{defect}: likeness of masks to base masks {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
