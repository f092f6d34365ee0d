"""The Inception network of FID and KID, with weights from a user's file.

Inception-v3 (Szegedy et al. 2016) as in TensorFlow's graph of 2015-12-05, which has 1,008 classes, average pooling that
leaves the border out of the count, and max pooling in the last block. Only with these weights and this resizing is a
number comparable with published KID; the weights cannot be shipped and are 90 MB, so the user supplies the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defect_synth.metrics.features import Module
from defect_synth.metrics.weights_file import read_tensors, take

WEIGHTS_FILE = "pt_inception-2015-12-05-6726825d.pth"
_EXPECTED = (
    f"expected {WEIGHTS_FILE} of github.com/mseitzer/pytorch-fid (release fid_weights) or torch-fidelity's copy of it, "
    "given with --inception"
)
_SIDE = 299
_EPSILON = 1e-3  # of batch normalisation, TensorFlow's


class _Conv(NamedTuple):
    """Convolution, batch normalisation, ReLU. Stride 2 comes without padding, stride 1 keeps the size."""

    name: str
    outputs: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


class _Fork(NamedTuple):
    """Two convolutions of the same input, concatenated."""

    first: _Conv
    second: _Conv


_Branch = tuple[_Conv | _Fork | str, ...]  # one after another; a string is a pooling


class _Block(NamedTuple):
    name: str
    branches: tuple[_Branch, ...]  # of the same input, concatenated


def _a(name: str, pool: int) -> _Block:
    """35x35: 1x1, 5x5, two 3x3, pooling."""
    return _Block(name, (
        (_Conv("branch1x1", 64),),
        (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, (5, 5))),
        (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), _Conv("branch3x3dbl_3", 96, (3, 3))),
        ("mean", _Conv("branch_pool", pool)),
    ))  # fmt: skip


def _b(name: str) -> _Block:
    """35x35 -> 17x17."""
    return _Block(name, (
        (_Conv("branch3x3", 384, (3, 3), 2),),
        (_Conv("branch3x3dbl_1", 64), _Conv("branch3x3dbl_2", 96, (3, 3)), _Conv("branch3x3dbl_3", 96, (3, 3), 2)),
        ("halve",),
    ))  # fmt: skip


def _c(name: str, width: int) -> _Block:
    """17x17: 7x7 as 1x7 and 7x1."""
    return _Block(name, (
        (_Conv("branch1x1", 192),),
        (_Conv("branch7x7_1", width), _Conv("branch7x7_2", width, (1, 7)), _Conv("branch7x7_3", 192, (7, 1))),
        (_Conv("branch7x7dbl_1", width), _Conv("branch7x7dbl_2", width, (7, 1)),
         _Conv("branch7x7dbl_3", width, (1, 7)), _Conv("branch7x7dbl_4", width, (7, 1)),
         _Conv("branch7x7dbl_5", 192, (1, 7))),
        ("mean", _Conv("branch_pool", 192)),
    ))  # fmt: skip


def _d(name: str) -> _Block:
    """17x17 -> 8x8."""
    return _Block(name, (
        (_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, (3, 3), 2)),
        (_Conv("branch7x7x3_1", 192), _Conv("branch7x7x3_2", 192, (1, 7)), _Conv("branch7x7x3_3", 192, (7, 1)),
         _Conv("branch7x7x3_4", 192, (3, 3), 2)),
        ("halve",),
    ))  # fmt: skip


def _e(name: str, pool: str) -> _Block:
    """8x8: forks of 1x3 and 3x1."""
    return _Block(name, (
        (_Conv("branch1x1", 320),),
        (_Conv("branch3x3_1", 384), _Fork(_Conv("branch3x3_2a", 384, (1, 3)), _Conv("branch3x3_2b", 384, (3, 1)))),
        (_Conv("branch3x3dbl_1", 448), _Conv("branch3x3dbl_2", 384, (3, 3)),
         _Fork(_Conv("branch3x3dbl_3a", 384, (1, 3)), _Conv("branch3x3dbl_3b", 384, (3, 1)))),
        (pool, _Conv("branch_pool", 192)),
    ))  # fmt: skip


_PLAIN = (  # name, outputs, kernel, stride, padding; then the pooling that follows
    ("Conv2d_1a_3x3", 32, 3, 2, 0, False),
    ("Conv2d_2a_3x3", 32, 3, 1, 0, False),
    ("Conv2d_2b_3x3", 64, 3, 1, 1, True),
    ("Conv2d_3b_1x1", 80, 1, 1, 0, False),
    ("Conv2d_4a_3x3", 192, 3, 1, 0, True),
)
_BLOCKS = (
    _a("Mixed_5b", 32), _a("Mixed_5c", 64), _a("Mixed_5d", 64), _b("Mixed_6a"), _c("Mixed_6b", 128),
    _c("Mixed_6c", 160), _c("Mixed_6d", 160), _c("Mixed_6e", 192), _d("Mixed_7a"), _e("Mixed_7b", "mean"),
    _e("Mixed_7c", "max"),
)  # fmt: skip


class InceptionNetwork(nn.Module):
    """Images -> the 2,048 pooled features; batch normalisation is folded into the convolutions.

    Args:
        tensors: With the names of pytorch-fid and torch-fidelity: `Conv2d_1a_3x3.conv.weight`, `....bn.running_var`.

    Raises:
        CheckpointError: A tensor is missing or has another shape.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._convolutions = nn.ModuleDict()
        channels = 3
        for name, outputs, size, stride, padding, _ in _PLAIN:
            self._add(tensors, name, channels, outputs, (size, size), stride, (padding, padding))
            channels = outputs
        for block in _BLOCKS:
            channels = sum(self._add_branch(tensors, block.name, branch, channels) for branch in block.branches)

    def forward(self, x: Tensor) -> Tensor:
        """float32 [N, 3, H, W] in about [-1, 1] -> float32 [N, 2048]."""
        x = resize_as_tensorflow_1(x, _SIDE).contiguous(memory_format=torch.channels_last)
        for name, *_, pool in _PLAIN:
            x = F.relu(self._convolutions[name](x))
            x = F.max_pool2d(x, 3, 2) if pool else x
        for block in _BLOCKS:
            x = torch.cat([self._run(block.name, branch, x) for branch in block.branches], dim=1)
        return x.mean(dim=(2, 3))

    def _run(self, block: str, branch: _Branch, x: Tensor) -> Tensor:
        for step in branch:
            if isinstance(step, _Conv):
                x = F.relu(self._convolutions[f"{block}/{step.name}"](x))
            elif isinstance(step, _Fork):
                x = torch.cat(
                    [F.relu(self._convolutions[f"{block}/{conv.name}"](x)) for conv in (step.first, step.second)], dim=1
                )
            elif step == "mean":
                x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            else:
                x = F.max_pool2d(x, 3, 2) if step == "halve" else F.max_pool2d(x, 3, 1, 1)
        return x

    def _add_branch(self, tensors: Mapping[str, Tensor], block: str, branch: _Branch, channels: int) -> int:
        """Returns the channels that the branch puts out."""
        for step in branch:
            if isinstance(step, str):
                continue
            fork = (step,) if isinstance(step, _Conv) else (step.first, step.second)
            for conv in fork:
                padding = (0, 0) if conv.stride == 2 else (conv.kernel[0] // 2, conv.kernel[1] // 2)
                self._add(tensors, f"{block}/{conv.name}", channels, conv.outputs, conv.kernel, conv.stride, padding)
            channels = sum(conv.outputs for conv in fork)
        return channels

    def _add(
        self,
        tensors: Mapping[str, Tensor],
        name: str,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int],
        stride: int,
        padding: tuple[int, int],
    ) -> None:
        stem = name.replace("/", ".")
        weight = take(tensors, f"{stem}.conv.weight", (outputs, inputs, *kernel), _EXPECTED)
        gain, shift, mean, variance = (
            take(tensors, f"{stem}.bn.{part}", (outputs,), _EXPECTED).double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / (variance + _EPSILON).sqrt()
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, device="meta")
        conv.weight = nn.Parameter((weight * gain[:, None, None, None]).float(), requires_grad=False)
        conv.bias = nn.Parameter((shift - mean * gain).float(), requires_grad=False)
        self._convolutions[name] = conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def fid_inception(path: str | Path) -> Module:
    """The extractor of published KID, called "Inception".

    Args:
        path: `pt_inception-2015-12-05-6726825d.pth`.

    Raises:
        CheckpointError: Missing, unreadable or of another network.
    """
    return inception_features(InceptionNetwork(read_tensors(path, _EXPECTED)))


def inception_features(network: InceptionNetwork) -> Module:
    """The extractor for a network that is already loaded: pixels enter as (p - 128) / 128."""
    return Module(network, "Inception", size=None, mean=(128 / 255,) * 3, std=(128 / 255,) * 3)


def resize_as_tensorflow_1(x: Tensor, side: int) -> Tensor:
    """Bilinear without antialiasing at position i * old / new: half a pixel off everybody else's, as TensorFlow 1 does.

    Args:
        x: float [N, C, H, W].
        side: Of the result, [N, C, side, side].
    """
    if x.shape[-2:] == (side, side):
        return x
    down = _interpolation(x.shape[2], side).to(x)
    right = _interpolation(x.shape[3], side).to(x)
    return down @ x @ right.T


def _interpolation(old: int, new: int) -> Tensor:
    """[new, old], two weights in each row."""
    position = torch.arange(new, dtype=torch.float32) * (old / new)
    low = position.floor().long().clamp_max(old - 1)
    high = (low + 1).clamp_max(old - 1)
    share = position - low
    rows = torch.arange(new)
    weights = torch.zeros(new, old)
    weights.index_put_((rows, low), 1 - share, accumulate=True)
    weights.index_put_((rows, high), share, accumulate=True)
    return weights
