"""Writes a painter as ONNX files, from which `OnnxPainter` paints without torch."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from defect_synth.atomic import replacing
from defect_synth.errors import MissingExtraError
from defect_synth.painter.checkpoint import PainterCard, PainterCheckpoint, load_painter
from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.network import PainterModel
from defect_synth.painter.onnx import BACKBONE_FILE, HEADER_KEY, PAINTER_FILE, PRODUCT_FILE

_INPUTS = ("view", "mask", "donor", "has_donor", *PaintingCodes._fields, "defect")
_OPSET = 17  # of 2022: every onnxruntime that is still supported reads it
_BATCH = 2  # of the example: one view with and one without a donor


def export_onnx(painter: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Write a painter as `painter.onnx`, its image backbone as `backbone.onnx`, and the rest as `product.safetensors`.

    The networks take any number of views, whose sides are multiples of `config.STRIDE`.

    Args:
        painter: A painter's checkpoint file.
        folder: Where the three files go.

    Raises:
        CheckpointError: `painter` is no painter.
        MissingExtraError: The package `onnx` is not installed.
        OutputError: A file cannot be written.
    """
    try:
        import onnx  # type: ignore[import-not-found,unused-ignore]  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "ONNX export") from None
    checkpoint = load_painter(painter)
    example = _example(checkpoint.card)
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / PAINTER_FILE, folder / BACKBONE_FILE, folder / PRODUCT_FILE)
    _export(_PlainPainter(checkpoint.network), example, paths[0], _INPUTS, ("colour", "opacity"))
    _export(checkpoint.network.backbone, example[:1], paths[1], ("view",), ("drawn",))
    _write_product(checkpoint, paths[2])
    return paths


class _PlainPainter(nn.Module):
    """A `PainterModel` that takes and gives plain tensors, as the exporter needs it."""

    def __init__(self, model: PainterModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, view: Tensor, mask: Tensor, donor: Tensor, has_donor: Tensor, z: Tensor, coarse_map: Tensor,
        fine_map: Tensor, appearance: Tensor, grain: Tensor, defect: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        codes = PaintingCodes(z, coarse_map, fine_map, appearance, grain)
        painted = self.model(view, mask, donor, has_donor > 0.5, codes, defect)
        return painted.colour, painted.opacity


def _example(card: PainterCard) -> tuple[Tensor, ...]:
    """Inputs that the exporter traces the network with, in the order of `_INPUTS`."""
    model = card.model
    side, maps = model.side, model.map_channels
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(_BATCH, *shape, generator=generator)

    return (
        normal(3, side, side), (normal(1, side, side) > 0).float(), normal(3, side, side), torch.arange(_BATCH).float(),
        normal(model.z_dim), normal(maps, side // 16, side // 16), normal(maps, side // 4, side // 4), normal(6),
        normal(3, side, side), torch.eye(len(card.defects))[torch.zeros(_BATCH, dtype=torch.long)],
    )  # fmt: skip


def _export(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    axes = {name: _free_axes(name, values.ndim) for name, values in zip(inputs, example, strict=True)}
    axes |= {name: _free_axes(name, 4) for name in outputs}
    with replacing(path) as temporary, warnings.catch_warnings():
        # The tracing exporter announces that it will be replaced; its successor needs more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), example, str(temporary), input_names=list(inputs), output_names=list(outputs),
            dynamic_axes=axes, opset_version=_OPSET, dynamo=False,
        )  # fmt: skip


def _free_axes(name: str, num_axes: int) -> dict[int, str]:
    """Names of the axes of an input or output whose length is free."""
    if num_axes < 4:
        return {0: "views"}
    end = {"coarse_map": "coarse", "fine_map": "fine"}.get(name, "view")
    return {0: "views", 2: f"{end}_height", 3: f"{end}_width"}


def _write_product(checkpoint: PainterCheckpoint, path: Path) -> None:
    header = json.dumps(checkpoint.card.model_dump(mode="json") | {"checkpoint": checkpoint.digest}, sort_keys=True)
    assets = {name: tensor.numpy() for name, tensor in sorted(checkpoint.assets.items())}
    with replacing(path) as temporary:
        save_file(assets, temporary, metadata={HEADER_KEY: header})
