"""Speed of painting: `python benchmarks/speed_painter.py [PAINTER]`; default: the demo painter.

Prints images per second of `paint_many` (two threads, or as many as --threads) and milliseconds of one `paint` on one
thread, of the network alone and of all of it, as medians of wall-clock and of processor time. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from defect_synth.painter import Painter


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("painter", nargs="?", default="demo")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=48)
    options = parser.parse_args()
    painter = Painter.load(options.painter)
    defect = painter.defects[0]
    normals = [sample.clean for sample in painter.sample(defect, range(8))]
    masks = [sample.mask for sample in painter.sample(defect, range(8))]
    images = [normals[i % 8] for i in range(options.count)]
    masks = [masks[i % 8] for i in range(options.count)]
    print(f"{painter.category}, {defect}, views of {painter.info.model.side} px, images {images[0].shape[:2]}")

    torch.set_num_threads(1)
    wall, cpu = [], []
    for i in range(16):
        started, spent = time.perf_counter(), time.process_time()
        painter.paint(images[i], masks[i], defect, seed=i)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - spent)
    print(f"one image, one thread: {np.median(wall) * 1e3:.1f} ms wall, {np.median(cpu) * 1e3:.1f} ms processor")

    torch.set_num_threads(options.threads)
    started, spent = time.perf_counter(), time.process_time()
    painter.paint_many(images, masks, defect, list(range(len(images))))
    taken, used = time.perf_counter() - started, time.process_time() - spent
    print(
        f"{len(images)} images, {options.threads} threads: {len(images) / taken:.1f} images/s, "
        f"{used / len(images) * 1e3:.1f} ms of processor each"
    )


if __name__ == "__main__":
    main()
