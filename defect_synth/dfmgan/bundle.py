"""All defects of a run in one file: the frozen backbone, which they share, is stored once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defect_synth.dfmgan.config import ModelConfig
from defect_synth.engine.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from defect_synth.errors import CheckpointError

KIND = "dfmgan-set"
_SHARED = "backbone."
_OWN = "defects/{}/"


def pack(files: Mapping[str, Path], output: Path, *, half: bool = False, note: str | None = None) -> None:
    """Write the checkpoints of one run as one file.

    Args:
        files: Defect -> its `dfmgan` checkpoint.
        output: The `.safetensors` file to write.
        half: Store float16: half the bytes; images differ by rounding, a few mask pixels at borders too.
        note: On whose images the weights depend; None: what the first file says.

    Raises:
        CheckpointError: Nothing to pack, not of one run, or a file that cannot be read.
        OutputError: The file cannot be written.
    """
    if not files:
        raise CheckpointError("no defect to pack; expected a run folder with at least one trained defect")
    parts = {defect: load_checkpoint(path, "dfmgan") for defect, path in sorted(files.items())}
    first = next(iter(parts.values()))
    shared = {name: tensor for name, tensor in first.tensors.items() if name.startswith(_SHARED)}
    tensors, about = dict(shared), dict[str, Any]()
    for defect, part in parts.items():
        if part.info.model.backbone != first.info.model.backbone or not _has(part, shared):
            raise CheckpointError(
                f"{part.path} has another backbone than {first.path}; only defects of one run can be packed"
            )
        tensors |= {_OWN.format(defect) + n: t for n, t in part.tensors.items() if n not in shared}
        about[defect] = {
            name: getattr(part.info, name)
            for name in ("trained_kimg", "data_digest", "num_images", "score", "training")
        } | {"model": part.info.model.model_dump(mode="json")}
    info = first.info.model_copy(
        update={"kind": KIND, "defect": None, "defects": tuple(parts), "training": about, "score": None,
                "data_digest": "", "num_images": 0, "licence_note": note or first.info.licence_note}
    )  # fmt: skip
    save_checkpoint(output, info, {n: t.half() if half and t.is_floating_point() else t for n, t in tensors.items()})


def part_of(checkpoint: Checkpoint, defect: str) -> Checkpoint:
    """One defect of a packed file, as its own file would be; a file of one defect is given back.

    Raises:
        CheckpointError: The defect is not in it.
    """
    info = checkpoint.info
    if info.kind != KIND:
        return checkpoint
    if defect not in info.defects:
        raise CheckpointError(f"{checkpoint.path} has no defect {defect!r}; it holds {', '.join(info.defects)}")
    own = _OWN.format(defect)
    tensors = {
        name.removeprefix(own): tensor for name, tensor in checkpoint.tensors.items() if name.startswith((_SHARED, own))
    }
    about: dict[str, Any] = dict(info.training.get(defect, {}))
    model = ModelConfig.model_validate(about.pop("model"))
    single = info.model_copy(update={"kind": "dfmgan", "defect": defect, "defects": (), "model": model, **about})
    return Checkpoint(single, tensors, checkpoint.digest, checkpoint.path)


def _has(part: Checkpoint, shared: Mapping[str, Tensor]) -> bool:
    return all(name in part.tensors and torch.equal(part.tensors[name], tensor) for name, tensor in shared.items())
