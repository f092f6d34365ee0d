"""Painters as ONNX files: export, and painting through onnxruntime without torch.

Torch is imported by `export_onnx` only.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from defect_synth.atomic import replacing
from defect_synth.errors import CheckpointError, ConfigError, MissingExtraError
from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.painter_base import DONOR_PROB, Easel, digest_of
from defect_synth.painter.product_assets import read_luggage
from defect_synth.painter.region_painting import Floats, Request
from defect_synth.samples import Pixels

if TYPE_CHECKING:
    from torch import Tensor

PAINTER_FILE = "painter.onnx"
BACKBONE_FILE = "backbone.onnx"
PRODUCT_FILE = "product.safetensors"
_KEY = "defect_synth_painter_onnx"
_INPUTS = ("view", "mask", "donor", "has_donor", "z", "coarse_map", "fine_map", "appearance", "grain", "defect")
_OPSET = 17  # of 2022: every onnxruntime that is still supported reads it


def export_onnx(painter: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Write a painter as `painter.onnx`, its image backbone as `backbone.onnx`, and the rest as `product.safetensors`.

    The networks take any number of views, whose sides are multiples of `model.painter.STRIDE`.

    Args:
        painter: A painter's checkpoint file.
        folder: Where the three files go.

    Raises:
        CheckpointError: Not a painter.
        MissingExtraError: The package `onnx` is not installed.
        OutputError: A file cannot be written.
    """
    try:
        import onnx  # type: ignore[import-not-found,unused-ignore]  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "ONNX export") from None
    import torch

    from defect_synth.painter.checkpoint import load_painter
    from defect_synth.painter.network import PainterModel

    checkpoint = load_painter(painter)
    card, model = checkpoint.card, checkpoint.network

    class Exported(torch.nn.Module):
        """Plain tensors in and out."""

        def __init__(self, model: PainterModel) -> None:
            super().__init__()
            self.model = model

        def forward(self, view: Tensor, mask: Tensor, donor: Tensor, has_donor: Tensor, z: Tensor, coarse_map: Tensor,
                    fine_map: Tensor, appearance: Tensor, grain: Tensor,
                    defect: Tensor) -> tuple[Tensor, Tensor]:  # fmt: skip
            codes = PaintingCodes(z, coarse_map, fine_map, appearance, grain)
            painted = self.model(view, mask, donor, has_donor > 0.5, codes, defect)
            return painted.colour, painted.opacity

    side, maps, count = card.model.side, card.model.map_channels, 2  # one with and one without a donor
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    example = (
        normal(3, side, side), (normal(1, side, side) > 0).float(), normal(3, side, side), torch.arange(count).float(),
        normal(card.model.z_dim), normal(maps, side // 16, side // 16), normal(maps, side // 4, side // 4), normal(6),
        normal(3, side, side),
        torch.eye(len(card.defects))[torch.zeros(count, dtype=torch.long)],
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    paths = (folder / PAINTER_FILE, folder / BACKBONE_FILE, folder / PRODUCT_FILE)
    jobs = (
        (paths[0], Exported(model), example, _INPUTS, ("colour", "opacity")),
        (paths[1], model.backbone, example[:1], ("view",), ("drawn",)),
    )
    strides = {"coarse_map": "coarse", "fine_map": "fine"}  # of every other picture: 1

    def free_sizes(name: str, dimensions: int) -> dict[int, str]:
        end = strides.get(name, "view")
        return {0: "views"} if dimensions < 4 else {0: "views", 2: f"{end}_height", 3: f"{end}_width"}

    for path, module, arguments, inputs, outputs in jobs:
        with replacing(path) as temporary, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracing exporter is announced as old; the new one needs more packages
            torch.onnx.export(
                module.eval(), arguments, str(temporary), input_names=list(inputs), output_names=list(outputs),
                dynamic_axes={
                    **{name: free_sizes(name, values.ndim) for name, values in zip(inputs, arguments, strict=True)},
                    **{name: free_sizes(name, 4) for name in outputs},
                },
                opset_version=_OPSET, dynamo=False,
            )  # fmt: skip
    header = json.dumps(card.model_dump(mode="json") | {"checkpoint": checkpoint.digest}, sort_keys=True)
    pictures = {name: tensor.numpy() for name, tensor in checkpoint.assets.items()}
    with replacing(paths[2]) as temporary:
        save_file(dict(sorted(pictures.items())), temporary, metadata={_KEY: header})
    return paths


class OnnxPainter(Easel):
    """A painter that was exported by `export_onnx`, run by onnxruntime; see `Easel` for what it can do.

    Its paintings differ from those of `Painter` by rounding only, a grey level here and there.
    """

    def __init__(
        self, folder: Path, *, normals: Sequence[Pixels] | None = None, donor_prob: float | None = None
    ) -> None:
        """Open what `export_onnx` wrote.

        Args:
            folder: With the three files.
            normals: Images uint8 [H, W, 3] to paint on as a source; None: those that travel with it.
            donor_prob: As of `Painter`.

        Raises:
            CheckpointError: A file is missing or damaged.
            ConfigError: `donor_prob` is not in 0..1.
            MissingExtraError: onnxruntime is not installed.
        """
        if donor_prob is not None and not 0 <= donor_prob <= 1:
            raise ConfigError(f"donor_prob must lie in [0, 1], got {donor_prob}")
        self._folder, self._given, self._donor_prob = folder, normals, donor_prob
        self._open()

    def _open(self) -> None:
        for name in (PAINTER_FILE, PRODUCT_FILE):
            if not (self._folder / name).is_file():
                raise CheckpointError(f"{self._folder} has no {name}; export a painter into it first")
        try:
            with safe_open(self._folder / PRODUCT_FILE, framework="numpy") as file:
                card: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
                pictures = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CheckpointError(f"{self._folder / PRODUCT_FILE} is damaged ({error}); export it again") from None
        defects, model = tuple(card["defects"]), card["model"]
        weights = hashlib.sha256((self._folder / PAINTER_FILE).read_bytes()).hexdigest()
        self.digest = digest_of(weights, self._donor_prob, self._given)
        self._set_up(
            card["category"], defects, int(card["reference"]), model,
            read_luggage(card["category"], defects, card["product"], pictures),
            _OnnxNetwork(self._folder / PAINTER_FILE), DONOR_PROB if self._donor_prob is None else self._donor_prob,
            self._given, {} if self._donor_prob is None else {"donor_prob": self._donor_prob},
        )  # fmt: skip

    def _workers(self) -> int:
        return min(8, os.cpu_count() or 1)

    def __getstate__(self) -> dict[str, Any]:
        """Workers get the path: each process opens the files itself."""
        return {"_folder": self._folder, "_given": self._given, "_donor_prob": self._donor_prob}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


class _OnnxNetwork:
    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise MissingExtraError("onnxruntime", "onnx", "painting from ONNX files") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # summation order must not depend on threads
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [i.name for i in self._session.get_inputs()]  # without those that this network does not read

    def __call__(self, request: Request) -> tuple[Floats, Floats]:
        values = vars(request) | request.codes._asdict()
        colour, opacity = self._session.run(
            ["colour", "opacity"], {name: np.ascontiguousarray(values[name]) for name in self._inputs}
        )
        return colour, opacity
