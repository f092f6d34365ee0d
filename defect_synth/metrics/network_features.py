"""Any torch network as a feature extractor, and any network of timm by its name."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.metrics.pooling import dilate, in_batches, pool, resize
from defect_synth.metrics.weights_file import read_tensors, tensors_digest

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class NetworkFeatures:
    """Features of a torch network, such as DINO, a model of timm, or your own.

    A network that returns a feature map [n, C, h, w] is pooled to the mean and the standard deviation of each channel,
    over the image and inside the mask. A network that returns vectors [n, D] is run a second time on the image in which
    everything but the defect and its rim has the mean colour, and the two vectors are concatenated.

    Args:
        network: Takes float32 [n, 3, size, size]; it is put into evaluation mode.
        name: What reports call it.
        size: Side to which images are resized; None keeps their size.
        mean: Subtracted per channel, on a scale of 0..1.
        std: Divided by per channel, on a scale of 0..1.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        *,
        size: int | None = None,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
    ) -> None:
        self.name = name
        self._network = network.eval()
        self._size = size
        self._mean = mean
        self._std = std
        self.digest = f"{name} {tensors_digest(network.state_dict())} at {size}, {mean}, {std}"

    def to(self, device: torch.device | str) -> NetworkFeatures:
        """Move the weights and return the extractor itself."""
        self._network.to(device)
        return self

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, D].

        Raises:
            ValueError: The network returns something else than [n, D] or [n, C, h, w].
        """
        return in_batches(self._features, images, masks)

    def _features(self, images: Tensor, masks: Tensor | None) -> Tensor:
        x = resize(images.to(_device(self._network)), self._size)
        mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (self._mean, self._std))
        x = (x / 255 - mean) / std
        features = self._network(x)
        if not isinstance(features, Tensor) or features.ndim not in (2, 4):
            shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{self.name} must return a tensor [n, D] or [n, C, h, w], got {shape}")
        if features.ndim == 4:
            return pool([features], masks)
        if masks is None:
            return features
        near = F.interpolate(dilate(masks), x.shape[-2:], mode="nearest").to(x.device)
        return torch.cat([features, self._network(x * near)], dim=1)  # 0 is the mean colour here


def timm_features(name: str, weights: str | Path | None = None) -> NetworkFeatures:
    """The pooled features of a pretrained timm model, under its timm name.

    Args:
        name: Such as `resnet18` or `vit_small_patch14_dinov2`.
        weights: File with the weights in timm's names. With None, timm downloads them or finds them in its cache.

    Raises:
        ConfigError: timm has no such model.
        CheckpointError: The weights are missing, belong to another network, or cannot be downloaded.
    """
    from defect_synth.nn.torchvision_import import ensure_torchvision

    ensure_torchvision()
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}; give one of timm.list_models(), such as resnet18, or a file")
    expected = f"expected the weights of timm's {name}: --features {name}=FILE"
    tensors = None if weights is None else read_tensors(weights, expected)
    try:
        with TemporaryDirectory() as folder:
            settings: dict[str, Any] = {}
            if tensors is not None:  # timm renames tensors of older files; it gets our own copy and never the file
                copy = Path(folder) / "weights.safetensors"
                save_file({key: tensor.clone() for key, tensor in tensors.items()}, copy)
                settings["pretrained_cfg_overlay"] = {"file": str(copy)}
            network = timm.create_model(name, pretrained=True, num_classes=0, **settings)
    except MemoryError:
        raise
    except Exception as error:  # downloads and damaged files fail in a dozen ways
        where = "be downloaded" if weights is None else f"be read from {weights}"
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"the weights of timm's {name} cannot {where} ({reason}); give a file of them: --features {name}=FILE"
        ) from error
    about: dict[str, Any] = network.pretrained_cfg
    return NetworkFeatures(network, name, size=int(about["input_size"][-1]), mean=about["mean"], std=about["std"])


def _device(network: nn.Module) -> torch.device:
    tensor = next(network.parameters(), None)
    return torch.device("cpu") if tensor is None else tensor.device
