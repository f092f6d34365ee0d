"""How good is anomalib's threshold if it is set on synthetic defects: `python benchmarks/anomalib_threshold.py`.

anomalib's PatchCore learns good images; its F1-adaptive threshold is then set on a validation set of held-out good
images and, in turn, our defects, anomalib's Perlin defects (its own synthetic test split, and DRAEM's strength), the
few real defects that ours were made from, and, as the bound, the test set itself. What counts is F1 on the real test
set, which nothing else has seen. Ours are pasted from the base third of each real defect; the test set is the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
import warnings
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import torch

from defect_synth.augment import DefectAugmenter
from defect_synth.compositor.real_source import RealImage, RealSource
from defect_synth.data.layouts import index
from defect_synth.data.store import load
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.nn.torchvision_import import ensure_torchvision

ensure_torchvision()
import anomalib  # noqa: E402
import timm  # noqa: E402
from anomalib.data import ImageBatch  # noqa: E402
from anomalib.data.utils.generators.perlin import PerlinAnomalyGenerator  # noqa: E402
from anomalib.metrics import F1AdaptiveThreshold  # noqa: E402
from anomalib.models.image.patchcore.torch_model import PatchcoreModel  # noqa: E402

SIDE = 160  # of the network's input
LAYERS = ["blocks.2", "blocks.4"]  # strides 8 and 16, as PatchCore's layer2 and layer3
CORESET = 0.01
FITTED = 120  # good images in the memory bank at most
HELD = 42  # good images in validation at most
ROUTES = {
    "ours": "ours, pasted from the base third of the real defects",
    "perlin": "anomalib's Perlin, blend 0.01 to 0.2 (its synthetic split)",
    "draem": "anomalib's Perlin, blend 0.1 to 1 (DRAEM's)",
    "base": "the base third of the real defects itself",
    "oracle": "the real test set itself (bound)",
}


class Remembered(torch.nn.Module):
    """In the place of PatchCore's feature extractor: looks features up, so that no image is computed twice."""

    def __init__(self, extractor):
        super().__init__()
        self.extractor, self.known = extractor, []

    @torch.no_grad()
    def add(self, images):
        """Numbers of uint8 [N, H, W, 3] to look up by."""
        first = len(self.known)
        for image in images:
            small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            signal = (torch.from_numpy(small).permute(2, 0, 1)[None].float() - 127) / 128
            self.known.append({k: v[0].clone() for k, v in self.extractor(signal).items()})
        return list(range(first, len(self.known)))

    def forward(self, numbers):
        """[B, 1, H, W] filled with numbers -> features of each layer."""
        rows = [self.known[int(n)] for n in numbers[:, 0, 0, 0]]
        return {layer: torch.stack([row[layer] for row in rows]) for layer in LAYERS}


def patchcore(weights):
    """PatchCore of anomalib on EfficientNet-Lite0 from a file."""
    if not weights.exists():
        raise SystemExit(f"{weights} is not there; give --weights")
    # The plain variant: torch.fx, with which anomalib cuts a module up, cannot follow TensorFlow's padding.
    backbone = timm.create_model("efficientnet_lite0", pretrained=False)
    backbone.load_state_dict(EfficientNetLite0(weights).network.state_dict())
    model = PatchcoreModel(layers=LAYERS, backbone=backbone.eval(), pre_trained=False)
    model.feature_extractor = Remembered(model.feature_extractor.eval())
    return model, "EfficientNet-Lite0 (ImageNet)"


def scores(model, numbers):
    """Image scores of remembered images."""
    model.eval()
    grids = torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 1, SIDE, SIDE)
    with torch.no_grad():
        return torch.cat([model(grid).pred_score.flatten() for grid in grids.split(16)]).numpy()


def fit(model, numbers, seed):
    """Fill the memory bank."""
    torch.manual_seed(seed)
    model.memory_bank = torch.empty(0)
    model.embedding_store.clear()
    model.train()
    grids = torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 1, SIDE, SIDE)
    for grid in grids.split(16):
        model(grid)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar
        model.subsample_embedding(CORESET)


def threshold(good, bad):
    """What anomalib chooses on these scores."""
    metric = F1AdaptiveThreshold(fields=["pred_score", "gt_label"], strict=False)
    both = np.concatenate([good, bad])
    labels = torch.tensor([False] * len(good) + [True] * len(bad))
    blank = torch.zeros(len(both), 3, 1, 1)
    metric.update(ImageBatch(image=blank, pred_score=torch.from_numpy(both), gt_label=labels))
    return float(metric.compute())


def f1(called, truth):
    """F1 of defect images."""
    right = int((called & truth).sum())
    return 2 * right / max(1, int(called.sum()) + int(truth.sum()))


def auroc(good, bad):
    """Chance that a defect scores higher than a good image."""
    return float(((bad[:, None] > good[None]) + 0.5 * (bad[:, None] == good[None])).mean())


def perlin(images, strength, seed):
    """Perlin defects on uint8 images."""
    torch.manual_seed(seed)
    generator = PerlinAnomalyGenerator(probability=1.0, blend_factor=strength)
    out = []
    for image in images:
        drawn, _ = generator(torch.from_numpy(image).permute(2, 0, 1).float() / 255)
        out.append((drawn.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    return out


def ours(images, source, seed):
    """Our defects on uint8 images."""
    augmenter, out = DefectAugmenter(source), []
    for k, image in enumerate(images):
        for attempt in range(20):
            sample = augmenter(image, np.random.default_rng([seed, k, attempt]))
            if sample.mask.any():
                break
        out.append(sample.image)
    return out


def product(root, model, seeds):
    """Calls on the test set for each seed and route."""
    table = index(root)
    side = 256
    train, test_good = (load(list(r), side, "letterbox").images for r in (table.good, table.good_test))
    defects = {d: load([r for r in table.of(d) if r.mask is not None], side, "letterbox") for d in table.defects}
    known = model.feature_extractor
    known.known.clear()
    numbers = {"train": known.add(train), "good": known.add(test_good)}
    numbers |= {d: known.add(a.images) for d, a in defects.items()}
    runs = []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 0])
        order = rng.permutation(len(train))
        held, fitted = order[:HELD], order[HELD : HELD + FITTED]
        base, tested, source = [], [], {}
        for d, arrays in defects.items():
            mixed = rng.permutation(len(arrays))
            third = np.sort(mixed[: len(mixed) // 3])
            chosen = arrays_of(arrays, third)
            source[d] = [RealImage(*item) for item in zip(chosen.names, chosen.images, chosen.masks, strict=True)]
            base += [numbers[d][k] for k in third]
            tested += [numbers[d][k] for k in mixed[len(mixed) // 3 :]]
        good = list(train[held])
        fit(model, [numbers["train"][k] for k in fitted], seed)
        held_scores = scores(model, [numbers["train"][k] for k in held])
        test_scores = scores(model, numbers["good"] + tested)
        truth = np.arange(len(test_scores)) >= len(numbers["good"])
        made = {
            "ours": ours(good, RealSource(table.category, source), seed),
            "perlin": perlin(good, (0.01, 0.2), seed),
            "draem": perlin(good, (0.1, 1.0), seed),
        }
        bad = {name: scores(model, known.add(images)) for name, images in made.items()}
        bad["base"] = scores(model, base)
        cuts = {name: threshold(held_scores, values) for name, values in bad.items()}
        cuts["oracle"] = threshold(test_scores[~truth], test_scores[truth])
        run = {"truth": truth, "called": {name: test_scores >= cut for name, cut in cuts.items()}, "cuts": cuts}
        run["auroc"] = {name: auroc(held_scores, values) for name, values in bad.items()}
        run["auroc"]["oracle"] = auroc(test_scores[~truth], test_scores[truth])
        runs.append(run)
        print(root.name, seed, {k: round(f1(v, truth), 3) for k, v in run["called"].items()}, flush=True)
    return runs


def arrays_of(arrays, which):
    """Some rows of loaded images."""
    return type(arrays)(arrays.images[which], arrays.masks[which], tuple(arrays.names[k] for k in which))


def intervals(runs, resamples=2000):
    """Mean F1 of each route, and its difference to each other route's, with 95 % bootstrap intervals.

    Seeds are drawn with replacement, and in each the test images of each kind: both are chance.
    """
    rng = np.random.default_rng(0)
    drawn = {name: [] for name in ROUTES}
    for _ in range(resamples):
        means = {name: 0.0 for name in ROUTES}
        for k in rng.integers(len(runs), size=len(runs)):
            truth = runs[k]["truth"]
            good, bad = np.flatnonzero(~truth), np.flatnonzero(truth)
            rows = np.concatenate([rng.choice(good, len(good)), rng.choice(bad, len(bad))])
            for name in ROUTES:
                means[name] += f1(runs[k]["called"][name][rows], truth[rows]) / len(runs)
        for name in ROUTES:
            drawn[name].append(means[name])
    point = {name: np.mean([f1(r["called"][name], r["truth"]) for r in runs]) for name in ROUTES}
    arrays = {name: np.array(values) for name, values in drawn.items()}

    def row(value, values):
        low, high = np.percentile(values, [2.5, 97.5])
        return {"value": round(float(value), 4), "low": round(float(low), 4), "high": round(float(high), 4)}

    pairs = [("ours", name) for name in ROUTES if name != "ours"]
    return {
        "f1": {name: row(point[name], arrays[name]) for name in ROUTES},
        "difference": {f"{a} - {b}": row(point[a] - point[b], arrays[a] - arrays[b]) for a, b in pairs},
        "each_seed": {name: [round(f1(r["called"][name], r["truth"]), 4) for r in runs] for name in ROUTES},
        "false_alarms": {name: share(runs, name, False) for name in ROUTES},
        "found": {name: share(runs, name, True) for name in ROUTES},
        "auroc": {name: round(float(np.mean([r["auroc"][name] for r in runs])), 4) for name in ROUTES},
        "test": [int((~runs[0]["truth"]).sum()), int(runs[0]["truth"].sum())],
    }


def share(runs, name, kind):
    """Share of the test images of one kind that are called defect."""
    return round(float(np.mean([r["called"][name][r["truth"] == kind].mean() for r in runs])), 4)


def markdown(results):
    """The table of the repository."""
    about = results["about"]
    lines = [
        "# A threshold set on synthetic defects, in anomalib",
        "",
        f"`python benchmarks/anomalib_threshold.py`, {about['date']}: PatchCore of anomalib {about['anomalib']} on "
        f"{about['backbone']}, {SIDE} px, coreset {CORESET:.0%}, at most {FITTED} good images in the bank and {HELD} "
        f"in validation, {about['seeds']} seeds (each its own split); torch {about['torch']}, one thread, "
        f"{about['minutes']} minutes. F1 of defect images on real test images at anomalib's F1-adaptive threshold; 95 "
        "% bootstrap intervals over seeds and test images. The seeds' test sets overlap, so the intervals are somewhat "
        "narrow.",
    ]
    for name, r in results["products"].items():
        lines += [
            "",
            f"## {name}: {r['test'][0]} good and {r['test'][1]} defect test images",
            "",
            "| threshold set on good validation images and | F1 on the real test set | ours minus this, points "
            "| good called defect | defects found | AUROC where it was set |",
            "|---|---|---|---|---|---|",
        ]
        for route, what in ROUTES.items():
            v, d = r["f1"][route], r["difference"].get(f"ours - {route}")
            delta = f"{d['value'] * 100:+.1f} [{d['low'] * 100:+.1f}, {d['high'] * 100:+.1f}]" if d else ""
            lines.append(
                f"| {what} | {v['value']:.3f} [{v['low']:.3f}, {v['high']:.3f}] | {delta} "
                f"| {r['false_alarms'][route]:.1%} | {r['found'][route]:.1%} | {r['auroc'][route]:.3f} |"
            )
    return "\n".join(lines) + "\n"


def main():
    """Measure and write."""
    shared = Path(__file__).parents[2] / "shared"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=shared / "weights" / "efficientnet-lite0-57934424.pth")
    parser.add_argument("--data", type=Path, default=shared / "data" / "mvtec_bottle", help="besides the embedded one")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "anomalib_threshold")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    start = time.time()
    model, backbone = patchcore(options.weights)
    products = {}
    if options.data.exists():
        name = "MVTec AD bottle" if options.data.name == "mvtec_bottle" else options.data.name
        products[name] = intervals(product(options.data, model, options.seeds))
    with tempfile.TemporaryDirectory() as folder:
        root = write_demo(Path(folder), resolution=256, good=FITTED + HELD, test_good=40, per_defect=18)
        products["embedded procedural hazelnut"] = intervals(product(root, model, options.seeds))
    about = {
        "date": date.today().isoformat(), "backbone": backbone, "seeds": options.seeds,
        "anomalib": anomalib.__version__, "torch": torch.__version__,
        "timm": timm.__version__, "numpy": np.__version__, "OpenCV": cv2.__version__,
        "python": platform.python_version(), "side": SIDE, "layers": LAYERS, "coreset": CORESET,
        "minutes": round((time.time() - start) / 60, 1),
    }  # fmt: skip
    results = {"about": about, "products": products}
    options.output.with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    options.output.with_suffix(".md").write_text(markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main()
