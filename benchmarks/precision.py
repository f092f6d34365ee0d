"""What bfloat16 changes in a checkpoint's samples: pixels, mask pixels, KID and clustered LPIPS beside their noise.

python benchmarks/precision.py RUN --data DATA [--count 200] [--features EFFICIENTNET_LITE0.pth]
    [--lpips-alexnet FILE --lpips-lin FILE] [--output FILE.md]

The same seeds are drawn in float32 and in bfloat16; other seeds in float32 show what a figure moves by anyway. Without
bfloat16 units the format is emulated: slow, but the same rounding.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import numpy as np
import torch

from defect_synth import DefectSynthesizer
from defect_synth.data.layouts import index
from defect_synth.data.store import load
from defect_synth.metrics.clustered_lpips import CORRECTED, FeatureEmbedding, clustered_lpips
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import RandomFeatures
from defect_synth.metrics.kid import kid
from defect_synth.metrics.lpips import LPIPS


def stacked(samples) -> tuple[torch.Tensor, np.ndarray]:
    """uint8 [N, 3, R, R] and masks uint8 [N, R, R]."""
    images = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    return images, np.stack([sample.mask for sample in samples])


def main() -> None:
    """Draw, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--category")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--lpips-alexnet", type=Path)
    parser.add_argument("--lpips-lin", type=Path)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    features = RandomFeatures() if arguments.features is None else EfficientNetLite0(arguments.features)
    if arguments.lpips_alexnet is None:
        embedding, distance = FeatureEmbedding(features), f"clustered distance ({features.name})"
    else:
        embedding, distance = LPIPS.load(arguments.lpips_alexnet, arguments.lpips_lin), "clustered LPIPS"
    wide = DefectSynthesizer.load(arguments.run, precision="float32")
    narrow = DefectSynthesizer.load(arguments.run, precision="bfloat16")
    table = index(arguments.data, arguments.category)
    seeds = range(arguments.count)
    three = "float32 / bfloat16 / other seeds"
    columns = (
        "defect", "pixels that differ", "mean difference of 255", "mask pixels that flip",
        "mask area float32 / bfloat16", f"KID on {features.name}, {three}", f"{distance}, {three}",
    )  # fmt: skip
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for defect in wide.defects:
        records = table.of(defect)
        real = load(records, wide.sample(defect, [0])[0].image.shape[0], "letterbox")
        reference = torch.from_numpy(real.images).permute(0, 3, 1, 2)
        sets = {
            "float32": stacked(wide.sample(defect, seeds)),
            "bfloat16": stacked(narrow.sample(defect, seeds)),
            "other seeds": stacked(wide.sample(defect, range(arguments.count, 2 * arguments.count))),
        }
        (a, mask_a), (b, mask_b) = sets["float32"], sets["bfloat16"]
        difference = (a.int() - b.int()).abs()
        of_real = features(reference)
        kids = [f"{kid(of_real, features(images))[0]:.4g}" for images, _ in sets.values()]
        spreads = [
            f"{clustered_lpips(embedding, images, reference, (CORRECTED,))[0].value:.4f}" for images, _ in sets.values()
        ]
        cells = (
            defect, f"{float((difference > 0).any(1).float().mean()):.1%}", f"{float(difference.float().mean()):.2f}",
            f"{float((mask_a != mask_b).mean()):.3%}", f"{float(mask_a.mean()):.2%} / {float(mask_b.mean()):.2%}",
            " / ".join(kids), " / ".join(spreads),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    about = (
        f"{table.category}, {arguments.count} samples of each defect, torch {torch.__version__}, "
        f"{datetime.datetime.now(datetime.UTC).date().isoformat()}"
    )
    text = "\n".join(["# bfloat16 against float32", "", *lines, "", about, ""])
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
