"""Train the supervised SuperSimpleNet of anomalib on synthetic defects, with thresholds from synthetic defects, too.

    defect-synth demo-data data
    python examples/train_in_anomalib.py data --category hazelnut --painting online

Real defects are used for testing only. `--painting files` paints once and trains on files, `--painting online` paints
each batch anew. It runs offline, with a random backbone; `--weights FILE` loads a state dict of the timm backbone, as
saved by `torch.save(timm.create_model("resnet18", pretrained=True).state_dict(), FILE)` on a machine with network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from defect_synth import DefectSynthDataModule  # before anomalib: it makes torchvision load


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Parse the command line, train, test on real images, and return anomalib's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of categories in MVTec layout")
    parser.add_argument("--category", default="hazelnut", help="(default: %(default)s)")
    parser.add_argument("--source", default="demo", help="bank, run or generated folder (default: %(default)s)")
    parser.add_argument("--painting", choices=("files", "online"), default="files", help="(default: %(default)s)")
    parser.add_argument("--backbone", default="resnet18", help="a timm ResNet (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="state dict of the backbone; without it the weights are random")
    parser.add_argument("--epochs", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="(default: %(default)s)")
    parser.add_argument("--size", type=int, default=256, help="side of the network's input (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    from anomalib.data import MVTecAD
    from anomalib.engine import Engine
    from anomalib.models import Supersimplenet

    base = MVTecAD(
        options.root, options.category, train_batch_size=options.batch, eval_batch_size=options.batch, num_workers=0
    )
    painted = {"source": options.source, "folder": str(options.output / "painted")}
    # Two wrappers: the inner one makes the validation set, the outer one the defects to train on.
    with_validation = DefectSynthDataModule(base, split="val", **painted)
    data = DefectSynthDataModule(
        with_validation, split="train", ratio=1.0, online=options.painting == "online", probability=0.5, **painted
    )
    model = Supersimplenet(
        backbone=backbone(options.backbone, options.weights),
        layers=["layer2", "layer3"],
        supervised=True,
        pre_processor=Supersimplenet.configure_pre_processor((options.size, options.size)),
        visualizer=False,
    )
    engine = Engine(
        accelerator="cpu", devices=1, max_epochs=options.epochs, default_root_dir=options.output, logger=False,
        enable_progress_bar=False, num_sanity_val_steps=0,
    )  # fmt: skip
    engine.fit(model, datamodule=data)
    figures = {name: float(value) for name, value in engine.test(model, datamodule=data, verbose=False)[0].items()}
    for name, value in figures.items():
        print(f"{name}: {value:.3f}")
    return figures


def backbone(name: str, weights: Path | None) -> torch.nn.Module:
    """A timm network with random weights or weights from a file; nothing is downloaded."""
    import timm

    network: torch.nn.Module = timm.create_model(name, pretrained=False)
    if weights is not None:
        network.load_state_dict(torch.load(weights, weights_only=True))
    return network


if __name__ == "__main__":
    main()
