"""All defects of a run in one file, in which the frozen backbone that they share is stored once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.engine.checkpoint import Checkpoint, checked_card, load_checkpoint, save_checkpoint
from defect_synth.errors import CheckpointError

BUNDLE = "dfmgan-set"
_SHARED = "backbone."
_OWN = "defects/{}/"
_OWN_FIELDS = ("trained_kimg", "data_digest", "num_images", "score", "training")


def pack(files: Mapping[str, Path], output: Path, *, half: bool = False, note: str | None = None) -> None:
    """Write the checkpoints of one run as one file.

    Args:
        files: Defect category -> its `dfmgan` checkpoint.
        output: The `.safetensors` file to write.
        half: Store float16, which halves the size; images then differ by rounding, and so do a few pixels at the
            borders of masks.
        note: Licence note of the bundle; None: that of the first file.

    Raises:
        CheckpointError: There is nothing to pack, the files are not of one run, or one cannot be read.
        OutputError: The file cannot be written.
    """
    if not files:
        raise CheckpointError("no defect to pack; expected a run folder with at least one trained defect")
    parts = {defect: load_checkpoint(path, DFMGANCard, "dfmgan") for defect, path in sorted(files.items())}
    first = next(iter(parts.values()))
    shared = {name: tensor for name, tensor in first.tensors.items() if name.startswith(_SHARED)}
    tensors, cards = dict(shared), dict[str, Any]()
    for defect, part in parts.items():
        if part.card.model.backbone != first.card.model.backbone or not _has(part, shared):
            raise CheckpointError(
                f"{part.path} has another backbone than {first.path}; only defects of one run can be packed"
            )
        tensors |= {_OWN.format(defect) + n: t for n, t in part.tensors.items() if n not in shared}
        cards[defect] = part.card.model_dump(mode="json", include={"model", *_OWN_FIELDS})
    card = first.card.model_copy(
        update={"kind": BUNDLE, "defect": None, "defects": tuple(parts), "training": cards, "score": None,
                "data_digest": "", "num_images": 0, "licence_note": note or first.card.licence_note}
    )  # fmt: skip
    save_checkpoint(output, card, {n: t.half() if half and t.is_floating_point() else t for n, t in tensors.items()})


def unpack(checkpoint: Checkpoint[DFMGANCard], defect: str) -> Checkpoint[DFMGANCard]:
    """One defect of a bundle, as its own file would be; the checkpoint of a single defect is returned as it is.

    Raises:
        CheckpointError: The bundle does not hold the defect, or is damaged.
    """
    card = checkpoint.card
    if card.kind != BUNDLE:
        return checkpoint
    if defect not in card.defects:
        raise CheckpointError(f"{checkpoint.path} has no defect {defect!r}; it holds {', '.join(card.defects)}")
    own = _OWN.format(defect)
    tensors = {
        name.removeprefix(own): tensor for name, tensor in checkpoint.tensors.items() if name.startswith((_SHARED, own))
    }
    own_card = card.training.get(defect)
    if not isinstance(own_card, dict) or "model" not in own_card:
        raise CheckpointError(f"{checkpoint.path} is damaged: its card says nothing of {defect}; pack the run again")
    fields = {name: own_card[name] for name in ("model", *_OWN_FIELDS) if name in own_card}
    values = {**card.model_dump(), "kind": "dfmgan", "defect": defect, "defects": (), **fields}
    single = checked_card(DFMGANCard, values, checkpoint.path)
    return Checkpoint(single, tensors, checkpoint.digest, checkpoint.path)


def _has(part: Checkpoint[DFMGANCard], shared: Mapping[str, Tensor]) -> bool:
    return all(name in part.tensors and torch.equal(part.tensors[name], tensor) for name, tensor in shared.items())
