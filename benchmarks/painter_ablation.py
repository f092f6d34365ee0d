"""Which parts of the training pay? `python benchmarks/painter_ablation.py OUT --features efficientnet-lite0.pth`.

Trains painters of the procedural hazelnut, each without one part of the training, with the same seed and the same image
backbone (the last two variants train their own), and measures them on unseen defects: distance of defect crops, painted
freely and from donors, and accuracy of a linear probe on real and painted images. Each split has a seed of its own,
none of them the benchmark's, so nothing here has seen a test image of the benchmark. Prints a Markdown table. A stopped
run can be continued: what is measured is kept.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from defect_synth.atomic import replacing
from defect_synth.benchmark.downstream.batches import TrainingMix
from defect_synth.benchmark.downstream.linear_probe import ProbeConfig, features_of, real_views, train_probe
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import split
from defect_synth.data.store import ImageArrays, load
from defect_synth.demo.hazelnut import DEFECTS
from defect_synth.demo.models import shipped_dfmgan
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.dfmgan.synthesizer import DefectSynthesizer
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.quality import RealDefects, measure_quality
from defect_synth.painter import Painter
from defect_synth.painter.config import PAINT_128, PainterConfig
from defect_synth.painter.discriminators import LocalDiscriminators, discriminator_loss, weighted_mean
from defect_synth.painter.train import train_painter

SIDE, COUNT = 128, 60


class _OnlyMatch(LocalDiscriminators):
    def forward(self, maps: Sequence[Tensor], view: Tensor, mask: Tensor, label: Tensor) -> list[Tensor]:
        return [self.match(view, mask, label)]


class _OnlyHeads(LocalDiscriminators):
    def forward(self, maps: Sequence[Tensor], view: Tensor, mask: Tensor, label: Tensor) -> list[Tensor]:
        return super().forward(maps, view, mask, label)[:-1]


def _without_pairs(
    real: Sequence[Tensor], fake: Sequence[Tensor], bare: Sequence[Tensor],
    real_mask: Tensor, fake_mask: Tensor, bare_mask: Tensor,
) -> Tensor:  # fmt: skip
    """`discriminator_loss` without its last term."""
    whole = discriminator_loss(real, fake, bare, real_mask, fake_mask, bare_mask)
    pairs = [0.3 * weighted_mean(F.relu(1 + b), bare_mask).mean() for b in bare]
    return whole - torch.stack(pairs).sum() / len(pairs)


def _unweighted_mean(values: Tensor, mask: Tensor) -> Tensor:
    return values.mean(dim=(1, 2, 3))


def _no_loss(fake: Sequence[Tensor], mask: Tensor) -> Tensor:
    return fake[0].sum() * 0


STAGE = "defect_synth.painter.stages."
AS_IT_IS = "as it is"
OWN_FEATURES = "no pretrained features"  # heads on the backbone's, and no perceptual term in stage 1'
WITH_DFMGAN = "with samples of the shipped DFMGAN"
# Name -> what to replace in the code, and settings.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    AS_IT_IS: ({}, {}),
    "no discriminator at all": ({STAGE + "painter_loss": _no_loss}, {}),
    "no heads on features": ({STAGE + "LocalDiscriminators": _OnlyMatch}, {}),
    "no D_match on pixels": ({STAGE + "LocalDiscriminators": _OnlyHeads}, {}),
    "no mismatched pairs": ({STAGE + "discriminator_loss": _without_pairs}, {}),
    "no weights by the mask": ({"defect_synth.painter.discriminators.weighted_mean": _unweighted_mean}, {}),
    "no mode seeking": ({}, {"painter.mode_seeking_weight": 0.0}),
    "no texture distance": ({}, {"painter.texture_weight": 0.0}),
    "no appearance distance": ({}, {"painter.appearance_weight": 0.0}),
    OWN_FEATURES: ({}, {}),
    WITH_DFMGAN: ({}, {}),
}


def trained(name: str, root: Path, data: Path, config: PainterConfig, features: Path) -> Path:
    """Train a variant; returns its run folder. Variants share the first one's image backbone where they can."""
    table = index(data, "hazelnut")
    output = root / name.replace(" ", "_").replace("'", "")
    patches, settings = VARIANTS[name]
    first = root / AS_IT_IS.replace(" ", "_")
    if not output.exists() and name not in (AS_IT_IS, WITH_DFMGAN, OWN_FEATURES):
        shutil.copytree(first, output, ignore=shutil.ignore_patterns("model.safetensors.tmp"))
        for file in (output / "painter").iterdir():
            if file.is_file():
                file.unlink()
    own = None if name == OWN_FEATURES else features
    dfmgan = DefectSynthesizer.load(shipped_dfmgan()) if name == WITH_DFMGAN else None
    stack = [mock.patch(target, new) for target, new in patches.items()]
    for patch in stack:
        patch.start()
    try:
        train_painter(
            table,
            split(table, "P1", 0.2),
            override(config, settings),
            output,
            features=own,
            dfmgan=dfmgan,
            resume=output.exists(),
        )
    finally:
        for patch in stack:
            patch.stop()
    return output


def measured(path: Path, data: Path, network: EfficientNetLite0, cache: Path) -> dict[str, float]:
    """Figures of one painter, each the mean over the defects."""
    table = index(data, "hazelnut")
    partition = split(table, "P1", 0.2)
    good = load(partition.records(table, "base", None)[:40], SIDE, "letterbox")

    def of(part: str) -> dict[str, ImageArrays]:
        return {d: load(partition.records(table, part, d), SIDE, "letterbox") for d in DEFECTS}

    base, held_out = of("base"), of("test")
    real = {d: RealDefects(base[d], held_out[d]) for d in DEFECTS}
    row = {}
    for mode, share in (("free", 0.0), ("donors", 1.0)):
        source = Painter.load(path, donor_prob=share, normals=list(good.images))
        found = measure_quality(source, real, [network], count=COUNT, lpips_count=COUNT, cache=cache)
        for metric, key in (("MMD x1000", "distance"), ("recall", "recall")):
            values = [
                f.value for d in found.defects for f in d.figures
                if f.metric == metric and f.view == "crop" and f.against == "held-out defects"
            ]  # fmt: skip
            row[f"{key}, {mode}"] = float(np.mean(values))
    source = Painter.load(path, normals=list(good.images))
    drawn = [s for d in DEFECTS for s in source.sample(d, range(COUNT))]
    train = _labelled(base, "base")
    made = LabelledArrays(
        np.stack([s.image for s in drawn]), np.repeat(np.arange(len(DEFECTS)), COUNT), DEFECTS,
        tuple(str(i) for i in range(len(drawn))),
    )  # fmt: skip
    test = _labelled(held_out, "test")
    views, labels = real_views(train, flip=True, rotate90=True)
    real_features, made_features = features_of(network, views), features_of(network, made.images)
    test_features = features_of(network, test.images)
    probes = (("probe, real", TrainingMix(train), None), ("probe", TrainingMix(train, made), made_features))
    for key, mix, extra in probes:
        probe = train_probe(mix, (real_features, labels), extra, ProbeConfig())
        row[key] = float(100 * (probe.probabilities(test_features).argmax(1) == test.labels).mean())
    return row


def _labelled(arrays: dict[str, ImageArrays], name: str) -> LabelledArrays:
    counts = [len(arrays[d]) for d in DEFECTS]
    names = tuple(f"{name} {d} {i}" for d in DEFECTS for i in range(len(arrays[d])))
    images = np.concatenate([arrays[d].images for d in DEFECTS])
    return LabelledArrays(images, np.repeat(np.arange(len(DEFECTS)), counts), DEFECTS, names)


def table(rows: dict[str, dict[str, float]], seeds: Sequence[int]) -> str:
    """Mean of each variant over the splits, and its mean difference to the first variant with the standard error."""
    keys = list(next(iter(rows.values())))
    lines = ["| left out | splits | " + " | ".join(keys) + " |", "|---" * (len(keys) + 2) + "|"]
    for name in VARIANTS:
        both = [s for s in seeds if f"{s} {name}" in rows and f"{s} {AS_IT_IS}" in rows]
        if not both:
            continue
        cells = []
        for key in keys:
            values = np.array([rows[f"{s} {name}"][key] for s in both])
            gap = values - np.array([rows[f"{s} {AS_IT_IS}"][key] for s in both])
            error = f" ± {gap.std(ddof=1) / len(gap) ** 0.5:.2f}" if len(gap) > 1 else ""
            cells.append(f"{values.mean():.2f}" + ("" if name == AS_IT_IS else f" ({gap.mean():+.2f}{error})"))
        lines.append(f"| {name} | {len(both)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(say: Callable[[str], None] = print) -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, as for `defect-synth train`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[71, 72, 73], help="of the product, one for each split")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    options = parser.parse_args()
    network = EfficientNetLite0(options.features, size=SIDE)
    record = options.output / "rows.json"
    rows: dict[str, dict[str, float]] = json.loads(record.read_text("utf-8")) if record.is_file() else {}
    for seed in options.seeds:
        data = options.output / f"product-{seed}"
        if not (data / "hazelnut").is_dir():
            write_demo(data, resolution=SIDE, good=80, test_good=4, per_defect=45, seed=seed)
        for name in dict.fromkeys([AS_IT_IS, *options.variants]):
            if f"{seed} {name}" in rows:
                continue
            config = PAINT_128.for_minutes(options.minutes).model_copy(update={"seed": seed})
            run = trained(name, options.output / f"runs-{seed}", data / "hazelnut", config, options.features)
            rows[f"{seed} {name}"] = measured(run, data / "hazelnut", network, options.output / "kept")
            with replacing(record) as path:
                path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
            say(f"{seed} {name}: {rows[f'{seed} {name}']}")
    say(table(rows, options.seeds))


if __name__ == "__main__":
    main()
