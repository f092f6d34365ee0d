"""Pretrained weights from a user's file as the start of a classifier: all but the last layer, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from defect_synth.errors import CheckpointError
from defect_synth.metrics.efficientnet import timm_name
from defect_synth.metrics.weights_file import read_tensors

_COUNTERS = "num_batches_tracked"  # not in every file, and not needed


def start_from(model: nn.Module, path: Path, architecture: str) -> None:
    """Load weights into a timm model, except those of its last layer, which has other classes and stays random.

    A file that fits only in part is refused: otherwise a mostly random network would be reported as pretrained.

    Args:
        model: A timm model.
        path: `.safetensors`, or a `.pth` of tensors, in timm's names (for ResNets, torchvision's are the same) or, for
            EfficientNet-Lite0, in those of the PyPI package `efficientnet-lite-pytorch`.
        architecture: Name of the model in timm, for the error.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, or belongs to another network.
    """
    found = read_tensors(path, f"expected weights of {architecture}, .safetensors or .pth, in timm's names")
    if "_conv_stem.weight" in found:
        found = {_translated(name): tensor for name, tensor in found.items()}
    config: Any = model.default_cfg
    last = config["classifier"]
    heads = tuple(f"{name}." for name in ([last] if isinstance(last, str) else last))

    def body(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in tensors.items() if not k.startswith(heads) and not k.endswith(_COUNTERS)}

    wanted, given = body(model.state_dict()), body(found)
    wrong = [f"it has no {name}" for name in wanted if name not in given]
    wrong += [f"it has {name}, which {architecture} does not have" for name in given if name not in wanted]
    wrong += [
        f"{name} is {list(given[name].shape)} and should be {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f" ({len(wrong) - 1} more mismatches)" if len(wrong) > 1 else ""
        raise CheckpointError(f"{path} does not fit {architecture}: {wrong[0]}{more}; give the file of that network")
    model.load_state_dict(given, strict=False)


def _translated(name: str) -> str:
    try:
        return timm_name(name)
    except KeyError:
        return name
