"""Learned perceptual image patch similarity (Zhang et al. 2018) with the AlexNet trunk, version 0.1, from files.

LPIPS can be written as a squared Euclidean distance. With unit feature vectors u_l(x, p) at position p of layer l,
H_l x W_l positions and learned channel weights w_l >= 0,

    d(x, y) = sum_l mean_p sum_c w_lc (u_lc(x, p) - u_lc(y, p))^2 = |e(x) - e(y)|^2,
    e(x) = concatenation over l, p, c of sqrt(w_lc / (H_l W_l)) u_lc(x, p).

So an image goes through the network once, and all pairs of n images are one product of [n, D] with its transpose,
instead of two passes for each of the n (n - 1) / 2 pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from defect_synth.errors import CheckpointError
from defect_synth.metrics.weights_file import read_tensors, take_tensor, tensors_digest
from defect_synth.samples import pixels_to_signal

_SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and deviation on the scale of [-1, 1]
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10
_BATCH = 16
_TRUNK_HINT = "expected AlexNet's convolutions with torchvision's names, features.0.weight ... features.10.bias"
_LINEAR_HINT = "expected LPIPS v0.1 linear weights, lin0.model.1.weight ... lin4.model.1.weight (alex.pth of `lpips`)"


class _Convolution(NamedTuple):
    """One layer of AlexNet's trunk; `pool` is max pooling 3x3, stride 2, before it."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    pool: bool


_TRUNK = (
    _Convolution("features.0", 3, 64, 11, 4, 2, pool=False),
    _Convolution("features.3", 64, 192, 5, 1, 2, pool=True),
    _Convolution("features.6", 192, 384, 3, 1, 1, pool=True),
    _Convolution("features.8", 384, 256, 3, 1, 1, pool=False),
    _Convolution("features.10", 256, 256, 3, 1, 1, pool=False),
)


class LPIPS:
    """LPIPS with the AlexNet trunk. `LPIPS.load` reads the files; the constructor takes their tensors.

    Args:
        trunk: `features.0.weight` to `features.10.bias`. Other names, such as AlexNet's classifier, are ignored.
        linear: `lin0.model.1.weight` to `lin4.model.1.weight`, each [1, C, 1, 1] and not negative.

    Raises:
        CheckpointError: A tensor is missing, has another shape, or a linear weight is negative.
    """

    name = "LPIPS-Alex"

    def __init__(self, trunk: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> None:
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._roots: list[Tensor] = []
        used: dict[str, Tensor] = {}
        for number, layer in enumerate(_TRUNK):
            shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
            weight = take_tensor(trunk, f"{layer.name}.weight", shape, _TRUNK_HINT)
            bias = take_tensor(trunk, f"{layer.name}.bias", (layer.outputs,), _TRUNK_HINT)
            mixing = take_tensor(linear, f"lin{number}.model.1.weight", (1, layer.outputs, 1, 1), _LINEAR_HINT)
            if float(mixing.min()) < 0:
                raise CheckpointError(f"lin{number} has negative weights; {_LINEAR_HINT}")
            self._layers.append((weight, bias))
            self._roots.append(mixing.sqrt())
            used |= {f"weight{number}": weight, f"bias{number}": bias, f"linear{number}": mixing}
        self.digest = tensors_digest(used)

    @classmethod
    def load(cls, alexnet: str | Path, linear: str | Path) -> LPIPS:
        """Read both files, `.safetensors` or `.pth`, without executing anything in them.

        Raises:
            CheckpointError: A file is missing, unreadable or of another network.
        """
        return cls(read_tensors(alexnet, _TRUNK_HINT), read_tensors(linear, _LINEAR_HINT))

    def to(self, device: torch.device | str) -> LPIPS:
        """Move the weights and return the object itself."""
        self._layers = [(weight.to(device), bias.to(device)) for weight, bias in self._layers]
        self._roots = [root.to(device) for root in self._roots]
        return self

    def embed(self, images: Tensor) -> Tensor:
        """The vectors e(x), whose squared Euclidean distances are LPIPS.

        Args:
            images: uint8 [N, 3, H, W] pixels, or float [N, 3, H, W] signal in [-1, 1]; H and W at least 32.

        Returns:
            float32 [N, D] on the device of the weights; D is 640,128 at 256x256.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not len(images) or min(images.shape[2:]) < 32:
            raise ValueError(f"images must be [N, 3, H, W], H and W at least 32, got {list(images.shape)}")
        with torch.no_grad():
            return torch.cat([self._embed(images[i : i + _BATCH]) for i in range(0, len(images), _BATCH)])

    def _embed(self, images: Tensor) -> Tensor:
        images = images.to(self._roots[0].device)
        x = pixels_to_signal(images) if images.dtype == torch.uint8 else images.float()
        x = (x - x.new_tensor(_SHIFT).view(3, 1, 1)) / x.new_tensor(_SCALE).view(3, 1, 1)
        parts = []
        for layer, (weight, bias), root in zip(_TRUNK, self._layers, self._roots, strict=True):
            x = F.max_pool2d(x, 3, 2) if layer.pool else x
            x = F.relu(F.conv2d(x, weight, bias, layer.stride, layer.padding))
            length = x.square().sum(dim=1, keepdim=True).sqrt() + _EPSILON
            positions = x.shape[2] * x.shape[3]
            parts.append((x / length * (root / positions**0.5)).flatten(1))
        return torch.cat(parts, dim=1)
