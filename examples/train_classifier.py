"""Train a defect classifier on generated images, made while it trains.

    python examples/train_classifier.py runs/hazelnut --steps 200

The argument is a run folder, a checkpoint, a folder from `defect-synth generate`, or `demo`, the painter that ships.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader

from defect_synth import DefectSource, DefectSynthDataset
from defect_synth.nn.torchvision_import import ensure_torchvision


def main(arguments: Sequence[str] | None = None) -> torch.nn.Module:
    """Parse the command line, train, and return the classifier."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="run folder, checkpoint, generated folder, or demo")
    parser.add_argument("--steps", type=int, default=200, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="images per step (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data loader workers (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of images and weights (default: %(default)s)")
    options = parser.parse_args(arguments)
    return train(options.source, steps=options.steps, batch=options.batch, workers=options.workers, seed=options.seed)


def train(source: DefectSource | str, *, steps: int, batch: int, workers: int, seed: int) -> torch.nn.Module:
    """Train ResNet-34 from scratch on fresh images of every defect, equally often each."""
    ensure_torchvision()  # before timm, for installations whose torch and torchvision do not match
    import timm

    torch.manual_seed(seed)
    dataset = DefectSynthDataset(source, length=steps * batch, seed=seed)
    loader = DataLoader(dataset, batch_size=batch, num_workers=workers)
    model = timm.create_model("resnet34", num_classes=len(dataset.classes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model.train()
    for step, items in enumerate(loader, start=1):
        logits = model(items["image"] * 2 - 1)
        loss = torch.nn.functional.cross_entropy(logits, items["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        correct = (logits.argmax(1) == items["label"]).float().mean()
        print(f"step {step}/{steps}  loss {loss.item():.3f}  accuracy in the batch {correct.item():.2f}", flush=True)
    return model


if __name__ == "__main__":
    main()
