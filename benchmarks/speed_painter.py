"""Speed of painting: `python benchmarks/speed_painter.py [PAINTER] [--side 128]`; default: the shipped painter.

Prints for each defect the milliseconds that one `paint` takes on one thread (wall-clock and processor time), and the
images per second of a DataLoader with --threads workers of one thread each. For the first defect it also prints the
images per second of `paint_many` on as many threads, which share Python's lock. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from defect_synth.demo.models import shipped_painter
from defect_synth.painter import Painter
from defect_synth.samples import Pixels


class PaintingDataset(Dataset[int]):
    """Paints in the workers of a DataLoader and returns a number, so that no time goes into sending images."""

    def __init__(self, painter: Painter, defect: str, images: list[Pixels], masks: list[Pixels]) -> None:
        self._painter, self._defect, self._images, self._masks = painter, defect, images, masks

    def __len__(self) -> int:
        """Number of paintings."""
        return len(self._images)

    def __getitem__(self, index: int) -> int:
        """Number of pixels that a painting changes."""
        painted = self._painter.paint(self._images[index], self._masks[index], self._defect, seed=index)
        return int((painted != self._images[index]).any(axis=2).sum())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("painter", nargs="?", type=Path, default=shipped_painter())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--side", type=int, help="resize the images to this side, in pixels")
    options = parser.parse_args()
    painter = Painter.load(options.painter)
    if options.side is not None:
        size = (options.side, options.side)
        normals = [
            cv2.resize(s.clean, size, interpolation=cv2.INTER_AREA)
            for s in painter.sample(painter.defects[0], range(8))
        ]
        painter = Painter.load(options.painter, normals=normals)
    samples = {name: painter.sample(name, range(8)) for name in painter.defects}
    shape = samples[painter.defects[0]][0].clean.shape[:2]
    print(f"{painter.category}, views of {painter.card.model.side} px, images {shape}, {options.count} of each defect")

    for name, eight in samples.items():
        images = [eight[i % 8].clean for i in range(options.count)]
        masks = [eight[i % 8].mask for i in range(options.count)]
        torch.set_num_threads(1)
        wall, cpu = [], []
        for i in range(options.count):
            started, spent = time.perf_counter(), time.process_time()
            painter.paint(images[i], masks[i], name, seed=i)
            wall.append(time.perf_counter() - started)
            cpu.append(time.process_time() - spent)
        print(
            f"{name}: one image, one thread: median {np.median(wall) * 1e3:.1f} ms, mean {np.mean(wall) * 1e3:.1f} ms, "
            f"processor {np.median(cpu) * 1e3:.1f} ms"
        )

        torch.set_num_threads(options.threads)
        if name == painter.defects[0]:
            started = time.perf_counter()
            painter.paint_many(images, masks, name, list(range(len(images))))
            print(f"{name}: {options.threads} threads: {len(images) / (time.perf_counter() - started):.1f} images/s")
        loader = DataLoader(
            PaintingDataset(painter, name, images, masks),
            batch_size=8,
            num_workers=options.threads,
            persistent_workers=True,
        )
        list(loader)  # starts the workers and fills their caches
        started = time.perf_counter()
        list(loader)
        taken = time.perf_counter() - started
        print(f"{name}: {options.threads} workers: {len(images) / taken:.1f} images/s")


if __name__ == "__main__":
    main()
