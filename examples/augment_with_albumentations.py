"""Put learnt defects on your own good images while a DataLoader reads them.

    python examples/augment_with_albumentations.py runs/hazelnut path/to/good/images --workers 2

The source is a bank, a run folder, a checkpoint, a folder from `defect-synth generate`, or `demo`. With `demo` the
images may be left out: procedural hazelnuts are used. The numbers that are printed do not depend on --workers.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from defect_synth import DefectSynth
from defect_synth.augment.adapters.albumentations import call_seeded
from defect_synth.demo.hazelnut import render


class GoodImages(Dataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """Good images; some come out with a defect, its mask and its label."""

    def __init__(self, files: Sequence[Path], pipeline: A.Compose, seed: int) -> None:
        self.files, self.pipeline, self.seed, self.epoch = files, pipeline, seed, 0

    def __len__(self) -> int:
        return len(self.files) or 16

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        image = cv2.imread(str(self.files[index]))[..., ::-1] if self.files else render(index, 128).image
        empty = np.zeros(image.shape[:2], np.uint8)
        # One number per epoch and item: workers and epochs neither repeat each other nor change the result.
        seed = int(np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0])
        out = call_seeded(self.pipeline, seed, image=np.ascontiguousarray(image), mask=empty)
        return torch.from_numpy(out["image"]).permute(2, 0, 1), torch.from_numpy(out["mask"]), out["label"]


def main(arguments: Sequence[str] | None = None) -> Counter[str]:
    """Parse the command line, read the images for some epochs, and return how often each label came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="bank, run folder, checkpoint, generated folder, or demo")
    parser.add_argument("images", nargs="?", type=Path, help="folder of good images")
    parser.add_argument("--epochs", type=int, default=2, help="times to read the images (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data loader workers (default: %(default)s)")
    parser.add_argument("--size", type=int, default=128, help="side of the images of a batch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: %(default)s)")
    options = parser.parse_args(arguments)

    defects = DefectSynth(options.source, severity=(0.7, 1.2), label_key="label", p=0.5)
    pipeline = A.Compose([A.Resize(options.size, options.size), A.D4(), defects, A.RandomBrightnessContrast(p=0.3)])
    files = sorted(options.images.glob("*.png")) if options.images else []
    dataset = GoodImages(files, pipeline, options.seed)
    names = {index: name for name, index in defects.label_to_index.items()}
    counts: Counter[str] = Counter()
    for dataset.epoch in range(options.epochs):
        for _, masks, labels in DataLoader(dataset, batch_size=8, num_workers=options.workers):
            counts.update(names[int(label)] for label in labels)
            share = float((masks > 0).float().mean())
            print(f"epoch {dataset.epoch}: {[names[int(label)] for label in labels]}, {share:.2%} of pixels defective")
    return counts


if __name__ == "__main__":
    main()
