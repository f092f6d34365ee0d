"""What painting one defect costs, by stage, on one core: `python benchmarks/speed_composite.py`.

A bank of 500 procedural defects at 256x256, memory-mapped; images at 256 and 1024 that no cache has seen. Times are CPU
time of one thread, so other programs on the machine do not count. albumentations' OverlayElements and OpenCV's
seamlessClone put a patch of the same size at the same place, and choose, align, match and check nothing.

`--data` adds real defects of every kind, at the size of their images on the good ones: large masks without clean pairs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections import defaultdict
from datetime import date
from functools import wraps
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np

from defect_synth.augment import DefectAugmenter
from defect_synth.augment.adapters.albumentations import DefectSynth
from defect_synth.augment.paste_inserter import Pasting
from defect_synth.compositor import paste as paste_module
from defect_synth.compositor.bank import Bank, build_bank
from defect_synth.compositor.real_source import RealSource
from defect_synth.data.images import read_image
from defect_synth.data.layouts import index
from defect_synth.demo.hazelnut import DemoSource, render

STAGES = {
    "object, likeness": (DefectAugmenter, "_area"),
    "choose entry": (Pasting, "_choose"),
    "recorded object": (Pasting, "_object"),
    "place": (Pasting, "_pose"),
    "warp triplet": (paste_module, "warp"),
    "transfer": (paste_module, "transfer"),
    "edge": (paste_module, "soft_edge"),
    "realised mask": (paste_module, "settled"),
}
TARGET = {256: 10.0, 1024: 60.0}
BEYOND_BANK = 150  # MB for each worker


def timed(spent, name, function):
    """`function`, its time added to `spent[name]`."""

    @wraps(function)
    def wrapper(*args, **kwargs):
        start = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.thread_time() - start

    return wrapper


def by_stage(augmenter, images, draws):
    """Mean milliseconds of each stage and of all."""
    spent, kept = defaultdict(float), []
    for name, (owner, attribute) in STAGES.items():
        kept.append((owner, attribute, getattr(owner, attribute)))
        setattr(owner, attribute, timed(spent, name, getattr(owner, attribute)))
    try:
        mean_of(lambda k: augmenter.apply(images[k % len(images)], np.random.default_rng(k)), draws)
    finally:
        for owner, attribute, function in kept:
            setattr(owner, attribute, function)
    return {name: 1000 * spent[name] / draws for name in STAGES}


def mean_of(call, draws):
    """Mean milliseconds of `call(k)`."""
    start = time.thread_time()
    for k in range(draws):
        call(k)
    return 1000 * (time.thread_time() - start) / draws


def overlay(augmenter, images, k):
    """OverlayElements and seamlessClone at a place that we have painted."""
    image = images[k % len(images)]
    painted = augmenter.apply(image, np.random.default_rng(k))
    x, y, width, height = cv2.boundingRect(painted.mask)
    box = np.array([x, y, x + width, y + height]) / image.shape[0]
    patch = np.ascontiguousarray(painted.image[y : y + height, x : x + width])
    mask = np.ascontiguousarray(painted.mask[y : y + height, x : x + width])
    metadata = [{"image": patch, "mask": mask, "bbox": box.tolist(), "mask_id": 1}]
    transform = A.OverlayElements(p=1)
    background = image.copy()
    start = time.thread_time()
    transform(image=background, mask=np.zeros(image.shape[:2], np.uint8), overlay_metadata=metadata)
    first = time.thread_time() - start
    side = max(3, width), max(3, height)
    patch, mask = cv2.resize(patch, side), cv2.resize(mask * np.uint8(255), side)
    mask[0] = mask[-1] = mask[:, 0] = mask[:, -1] = 0
    mask[1, 1] = 255  # never empty
    start = time.thread_time()
    cv2.seamlessClone(patch, background, mask, (x + side[0] // 2, y + side[1] // 2), cv2.NORMAL_CLONE)
    return first, time.thread_time() - start


class IntendedMask:
    """Context manager that records the intended mask of the defect pasted last."""

    def __enter__(self):
        self.mask, self._transferred = None, paste_module._transferred

        def paste(image, place, defect, clean, soft, inside, *rest, **named):
            self.mask = np.zeros(image.shape[:2], bool)
            self.mask[place[0] : place[2], place[1] : place[3]] = soft * inside > 0.5
            return self._transferred(image, place, defect, clean, soft, inside, *rest, **named)

        paste_module._transferred = paste
        return self

    def __exit__(self, *error):
        paste_module._transferred = self._transferred


def real_defects(data, folder, draws):
    """For each kind of defect: what it costs, how large it is, and how well the returned mask is what was meant."""
    good = [record.image for record in index(data).records if record.defect is None][:8]
    images = [read_image(path) for path in good]
    bank, _ = build_bank(RealSource.open(data), folder / data.name, count=100)
    found = {}
    for defect in bank.defects:
        augmenter = DefectAugmenter(bank, defects=[defect])
        times, masks, agreement = [], [], []
        for k in range(-len(images), draws):  # the first ones only fill the caches
            start = time.thread_time()
            painted = augmenter.apply(images[k % len(images)], np.random.default_rng(k + 1000))
            if k >= 0:
                times.append(1000 * (time.thread_time() - start))
                masks.append(painted.mask > 0)
        with IntendedMask() as intended:
            for k, mask in enumerate(masks):
                augmenter.apply(images[k % len(images)], np.random.default_rng(k + 1000))
                if mask.any():
                    agreement.append((mask & intended.mask).sum() / (mask | intended.mask).sum())
        found[defect] = {
            "mean": np.mean(times), "p95": np.percentile(times, 95), "mask": np.mean([mask.sum() for mask in masks]),
            "iou": np.mean(agreement), "iou_p5": np.percentile(agreement, 5), "good": 1 - len(agreement) / draws,
        }  # fmt: skip
    return images[0].shape, len(bank), found


def private_memory():
    """Bytes that this process shares with nobody, in MB."""
    text = Path("/proc/self/smaps_rollup").read_text("utf-8")
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_Dirty")) / 1024


def worker(path, side, out):
    """What a DataLoader's worker would do; puts into `out` the memory that it took."""
    images = [render(5000 + k, side).image for k in range(4)]
    before = private_memory()
    augmenter = DefectAugmenter(path)
    for k in range(100):
        augmenter.apply(images[k % 4], np.random.default_rng(k))
    out.put(private_memory() - before)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, help="a bank; otherwise one is drawn (a minute)")
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="data folders with real defects and masks")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--output", type=Path, help="write the table there, too, and beside it the figures as .json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.bank or Path(folder) / "bank"
        if arguments.bank is None:
            build_bank(DemoSource(256), path, count=125)
        lines, figures = report(path, arguments.draws)
        for data in arguments.data:
            shape, entries, found = real_defects(data, Path(folder), arguments.draws)
            lines += [
                "",
                f"Real defects (`--data {data.name}`), {entries} of them, on its good images of {shape[1]}x{shape[0]}; "
                f"{arguments.draws} draws each. Agreement: intersection over union of the returned mask, which is what "
                "changed, with the recorded mask where it was laid.",
                "",
                "| defect | ms, mean | ms, 95th percentile | pixels of the mask | agreement, mean | 5th percentile | "
                "nothing fitted |",
                "|---|---|---|---|---|---|---|",
                *(
                    f"| {name} | {v['mean']:.0f} | {v['p95']:.0f} | {v['mask']:.0f} | {v['iou']:.2f} | "
                    f"{v['iou_p5']:.2f} | {v['good']:.0%} |"
                    for name, v in found.items()
                ),
            ]
            figures.setdefault("real", {})[data.name] = {
                name: {k: round(float(x), 3) for k, x in v.items()} for name, v in found.items()
            }
    print("\n".join(lines))
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
        arguments.output.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def report(path: Path, draws: int) -> tuple[list[str], dict[str, Any]]:
    """The lines of the table, and the same as figures."""
    start = time.perf_counter()
    bank = Bank.open(path)
    opened = 1000 * (time.perf_counter() - start)
    about = {
        "date": date.today().isoformat(), "python": platform.python_version(), "numpy": np.__version__,
        "opencv": cv2.__version__, "albumentations": A.__version__, "machine": platform.machine(),
        "cores": os.cpu_count(), "opencv_threads": cv2.getNumThreads(), "load_before": round(os.getloadavg()[0], 2),
        "clock": "CPU time of one thread", "bank": len(bank), "draws": draws, "bank_opens_ms": round(opened, 1),
    }  # fmt: skip
    lines = [
        "# Cost of painting one defect",
        "",
        f"`python benchmarks/speed_composite.py`: bank of {len(bank)} defects, {draws} draws each, one core of "
        f"{platform.machine()}, CPU time. NumPy {np.__version__}, OpenCV {cv2.__version__}, albumentations "
        f"{A.__version__}; OpenCV threads: {cv2.getNumThreads()}. The bank opens in {opened:.0f} ms. "
        f"{about['date']}; load of the {os.cpu_count()} cores before: {about['load_before']}.",
        "",
        "| ms | 256x256 | 1024x1024 |",
        "|---|---|---|",
    ]
    rows: dict[str, list[str]] = defaultdict(list)
    verdicts = []
    for side in TARGET:
        images = [render(5000 + k, side).image for k in range(min(draws, 40 if side < 512 else 12))]
        augmenter = DefectAugmenter(path)
        augmenter._put.symmetry  # noqa: B018 - found once, before the first draw

        def draw(k, augmenter=augmenter, images=images):
            return augmenter.apply(images[k % len(images)], np.random.default_rng(k))

        first = mean_of(draw, len(images))  # images and entries that were not seen before
        stages = by_stage(augmenter, images, draws)
        again = mean_of(draw, draws)
        for name, value in stages.items():
            rows[name].append(f"{value:.2f}")
        rows["copy, write, rest"].append(f"{max(0.0, again - sum(stages.values())):.2f}")
        rows["**DefectAugmenter, images seen before**"].append(f"**{again:.1f}**")
        rows["**DefectAugmenter, new images**"].append(f"**{first:.1f}**")
        transform = DefectSynth(str(path), p=1)
        transform(image=images[0])
        painted = mean_of(lambda k, t=transform, i=images: t(image=i[k % len(i)]), draws)
        rows["DefectSynth (albumentations)"].append(f"{painted:.1f}")
        others = 1000 * np.mean([overlay(augmenter, images, k) for k in range(20)], axis=0)
        rows["albumentations OverlayElements"].append(f"{others[0]:.1f}")
        rows["cv2.seamlessClone"].append(f"{others[1]:.1f}")
        out = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(target=worker, args=(str(path), side, out))
        process.start()
        memory = out.get()
        process.join()
        rows["MB of a worker beyond the bank"].append(f"{memory:.0f}")
        verdicts.append(f"{side}: {max(first, again):.1f} of {TARGET[side]:.0f} ms, {memory:.0f} of {BEYOND_BANK} MB")
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows.items()]
    sides = [str(side) for side in TARGET]
    table = {
        name.strip("*"): dict(zip(sides, (float(v.strip("*")) for v in values), strict=True))
        for name, values in rows.items()
    }
    return [*lines, "", f"Against the targets: {'; '.join(verdicts)}."], {"about": about, "rows": table}


if __name__ == "__main__":
    main()
