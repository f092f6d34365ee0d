"""Painting through onnxruntime, without torch; `onnx_export` writes the files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defect_synth.config import validated
from defect_synth.errors import CheckpointError, ConfigError, DataError, InvalidNameError, MissingExtraError
from defect_synth.files import parse_json
from defect_synth.names import names_in
from defect_synth.painter.painter_base import PainterBase, PainterDescription
from defect_synth.painter.product_assets import unpack_product_assets
from defect_synth.painter.product_card import ExportedCard
from defect_synth.painter.region_painting import Floats, NetworkInput
from defect_synth.samples import Pixels
from defect_synth.weights.safetensors_file import opened_safetensors

PAINTER_FILE = "painter.onnx"
BACKBONE_FILE = "backbone.onnx"
PRODUCT_FILE = "product.safetensors"
HEADER_KEY = "defect_synth_painter_onnx"


class OnnxPainter(PainterBase):
    """A painter that was exported by `export_onnx`, run by onnxruntime; see `PainterBase` for what it can do.

    Its paintings differ from those of `Painter` by rounding only, a grey level here and there.

    Args:
        folder: Holds the three files of `export_onnx`.
        normals: Images uint8 [H, W, 3] to paint on as a source; None: those in the files.
        donor_prob: As for `Painter`.

    Raises:
        CheckpointError: A file is missing or damaged.
        ConfigError: `donor_prob` is not in 0..1.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(
        self, folder: Path, *, normals: Sequence[Pixels] | None = None, donor_prob: float | None = None
    ) -> None:
        network, product = folder / PAINTER_FILE, folder / PRODUCT_FILE
        for file in (network, product):
            if not file.is_file():
                raise CheckpointError(f"{folder} has no {file.name}; export a painter into it first")
        try:
            with opened_safetensors(product, "numpy", "export it again") as opened, names_in(product):
                card = validated(ExportedCard, parse_json((opened.metadata() or {}).get(HEADER_KEY, "null"), product))
                pngs = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
            description = PainterDescription(card.category, card.defects, card.reference, card.model)
        except InvalidNameError:
            raise
        except (ConfigError, DataError) as error:
            raise CheckpointError(f"{product} is damaged ({error}); export it again") from None
        super().__init__(
            folder,
            description,
            unpack_product_assets(description.category, description.defects, card.product, pngs, product),
            _OnnxNetwork(network),
            hashlib.sha256(network.read_bytes()).hexdigest(),
            normals=normals,
            donor_prob=donor_prob,
        )

    def _num_threads(self) -> int:
        return min(8, os.cpu_count() or 1)


class _OnnxNetwork:
    """The network in `painter.onnx`, on one thread."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise MissingExtraError("onnxruntime", "onnx", "painting from ONNX files") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the order of sums must not depend on threads
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen types for damaged files
            line = " ".join(str(error).split())[:160]
            raise CheckpointError(f"{path} is damaged ({line}); export it again") from None
        self._inputs = [i.name for i in self._session.get_inputs()]  # those that this network reads

    def __call__(self, inputs: NetworkInput) -> tuple[Floats, Floats]:
        values = vars(inputs) | inputs.codes._asdict()
        colour, opacity = self._session.run(
            ["colour", "opacity"], {name: np.ascontiguousarray(values[name]) for name in self._inputs}
        )
        return colour, opacity
