"""Seconds of the paper's two figures, one image or one pair at a time and as this package computes them.

python benchmarks/speed_metrics.py [--threads 2] [--quick]

The slow sides would take hours, so they are timed on a few images or pairs and multiplied by the numbers of the full
job. Everything else is run in full. Weights are random: they change no time.
`rows()` returns what `speed.py` prints.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from defect_synth.metrics.clustered_lpips import CORRECTED, clustered_lpips
from defect_synth.metrics.kid import kid
from defect_synth.metrics.lpips import LPIPS
from defect_synth.nn.memory import keep_memory

REAL = 17  # images of a defect, as in hazelnut
SUBSETS = 100
TRUNK = ((0, 64, 3, 11, 4, 2), (3, 192, 64, 5, 1, 2), (6, 384, 192, 3, 1, 1), (8, 256, 384, 3, 1, 1),
         (10, 256, 256, 3, 1, 1))  # fmt: skip


def rows(*, quick: bool = False) -> list[dict[str, object]]:
    """Rows for `speed.py`: work, reference, ours, ratio, steps, note."""
    keep_memory()
    return [clustered(200 if quick else 1000, 256), kid_from_features(5000)]


def clustered(count: int, side: int) -> dict[str, object]:
    """Clustered LPIPS of `count` images; the reference sends both images of every pair through the network."""
    trunk, linear = _alexnet()
    lpips = LPIPS(trunk, linear)
    real, generated = _photographs(REAL, side, 0), _photographs(count, side, 1)
    found = []
    ours = _seconds(lambda: found.extend(clustered_lpips(lpips, generated, real, (CORRECTED,))))
    sizes = found[0].sizes
    pairs = count * REAL + sum(size * (size - 1) // 2 for size in sizes)
    some = [(generated[i], generated[i + 1]) for i in range(8)]
    _pair(trunk, linear, *some[0])
    one_pair = _seconds(lambda: [_pair(trunk, linear, a, b) for a, b in some]) / len(some)
    vectors = lpips.embed(generated[:9])
    one_image = _seconds(lambda: [lpips.embed(generated[i : i + 1]) for i in range(8)]) / 8
    one_difference = _seconds(lambda: [(vectors[i] - vectors[i + 1]).square().sum() for i in range(8)]) / 8
    cached = one_image * (count + REAL) + one_difference * pairs
    note = (
        f"{count} images of {side} px in clusters of {min(sizes)} to {max(sizes)}, {pairs} pairs; reference "
        f"extrapolated from 8 pairs; with vectors kept, one image and one pair at a time: {cached:.0f} s, "
        f"ratio {cached / ours:.1f}"
    )
    return _row("clustered LPIPS@1k" if count == 1000 else f"clustered LPIPS@{count}", one_pair * pairs, ours, note)


def kid_from_features(count: int) -> dict[str, object]:
    """KID of given features; the reference evaluates one kernel value at a time, a symmetric one once."""
    rng = np.random.default_rng(0)
    real, fake = (torch.from_numpy(np.abs(rng.normal(0, 1, (n, 2048))).astype(np.float32)) for n in (REAL, count))
    kid(real, fake, subsets=2)
    ours = min(_seconds(lambda: kid(real, fake, subsets=SUBSETS)) for _ in range(3))
    x, y = real.double().numpy(), fake.double().numpy()
    values = 2 * REAL * (REAL - 1) // 2 + REAL * REAL
    timed = list(itertools.product(range(REAL), range(100)))

    def one_at_a_time() -> float:
        return sum((float(np.dot(x[i], y[j])) / 2048 + 1) ** 3 for i, j in timed)

    one_at_a_time()
    one = _seconds(one_at_a_time) / len(timed)
    note = f"{SUBSETS} subsets of {REAL}, {SUBSETS * values} kernel values, one at a time with NumPy"
    return _row("KID@5k, features given", one * SUBSETS * values, ours, note)


def _row(work: str, reference: float, ours: float, note: str) -> dict[str, object]:
    steps = [{"step": work, "share": 1.0, "reference": reference, "ours": ours}]
    return {"work": work, "reference": reference, "ours": ours, "ratio": reference / ours, "steps": steps, "note": note}


def _pair(trunk: dict[str, Tensor], linear: dict[str, Tensor], a: Tensor, b: Tensor) -> float:
    """LPIPS as its definition says, for one pair of uint8 [3, H, W]."""
    layers = []
    for image in (a, b):
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        x = ((image[None].float() / 127.5 - 1) - shift.view(3, 1, 1)) / scale.view(3, 1, 1)
        maps = []
        for place, _, _, _, stride, padding in TRUNK:
            x = F.max_pool2d(x, 3, 2) if place in (3, 6) else x
            x = F.relu(F.conv2d(x, trunk[f"features.{place}.weight"], trunk[f"features.{place}.bias"], stride, padding))
            maps.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        layers.append(maps)
    terms = [
        F.conv2d((x - y).square(), linear[f"lin{n}.model.1.weight"]).mean()
        for n, (x, y) in enumerate(zip(*layers, strict=True))
    ]
    return float(torch.stack(terms).sum())


def _alexnet() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    trunk, linear = {}, {}
    for number, (place, outputs, inputs, size, _, _) in enumerate(TRUNK):
        weight = torch.randn(outputs, inputs, size, size, generator=generator)
        trunk[f"features.{place}.weight"] = weight * (2 / weight[0].numel()) ** 0.5
        trunk[f"features.{place}.bias"] = torch.zeros(outputs)
        linear[f"lin{number}.model.1.weight"] = torch.rand(1, outputs, 1, 1, generator=generator)
    return trunk, linear


def _photographs(count: int, side: int, seed: int) -> Tensor:
    """uint8 [count, 3, side, side] with structure at several scales, so that clusters are not all one."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.empty(count, 3, side, side, dtype=torch.uint8)
    for i in range(count):
        image = sum(
            F.interpolate(torch.randn(1, 3, n, n, generator=generator), (side, side), mode="bilinear")
            for n in (2, 8, 32)
        )
        images[i] = (image[0] * 30 + 128).clamp(0, 255).to(torch.uint8)
    return images


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="fewer images; ratios of the smaller job")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| work | reference s | ours s | ratio |\n|---|---|---|---|")
    found = rows(quick=arguments.quick)
    for row in found:
        print(f"| {row['work']} | {row['reference']:.2f} | {row['ours']:.2f} | {row['ratio']:.1f} |")
    print()
    for row in found:
        print(f"- {row['work']}: {row['note']}")
    print(f"\ntorch {torch.__version__}, threads {arguments.threads}, float32")


if __name__ == "__main__":
    main()
