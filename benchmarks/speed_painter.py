"""Speed of painting: `python benchmarks/speed_painter.py [PAINTER]`; default: the demo painter.

Prints milliseconds of one `paint` on one thread, medians of wall-clock and of processor time, and images per second of
`paint_many` (two threads, or as many as --threads) and of as many workers of a DataLoader, one thread each. Threads
wait for Python's lock, processes do not. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from defect_synth.painter import Painter
from defect_synth.samples import Pixels


class Painted(Dataset[int]):
    """What each worker of a DataLoader paints; the images stay there, so that only painting is timed."""

    def __init__(self, painter: Painter, defect: str, images: list[Pixels], masks: list[Pixels]) -> None:
        self._painter, self._defect, self._images, self._masks = painter, defect, images, masks

    def __len__(self) -> int:
        """How many."""
        return len(self._images)

    def __getitem__(self, index: int) -> int:
        """How many pixels were changed."""
        painted = self._painter.paint(self._images[index], self._masks[index], self._defect, seed=index)
        return int((painted != self._images[index]).any(axis=2).sum())


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

    for name in painter.defects:
        theirs = [sample.mask for sample in painter.sample(name, range(8))]
        repeated = [theirs[i % 8] for i in range(options.count)]
        loader = DataLoader(
            Painted(painter, name, images, repeated), batch_size=8, num_workers=options.threads, persistent_workers=True
        )
        list(loader)  # starts the workers, compiles and allocates
        started = time.perf_counter()
        list(loader)
        taken = time.perf_counter() - started
        print(f"{name}: {len(images)} images, {options.threads} workers: {len(images) / taken:.1f} images/s")


if __name__ == "__main__":
    main()
