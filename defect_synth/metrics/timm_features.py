"""Any network of timm as a feature extractor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.metrics.features import Module


def timm_features(name: str, weights: str | Path | None = None) -> Module:
    """The pooled features of a pretrained timm model, called by its timm name.

    Args:
        name: Such as `resnet18` or `vit_small_patch14_dinov2`.
        weights: Its weights in timm's names; None: timm downloads them or finds them in its cache.

    Raises:
        ConfigError: timm has no such model.
        CheckpointError: The weights are missing, of another network, or cannot be downloaded.
    """
    from defect_synth.nn.torchvision_import import ensure_torchvision

    ensure_torchvision()
    import timm

    if not timm.is_model(name):
        raise ConfigError(f"timm has no model {name!r}; give one of timm.list_models(), such as resnet18, or a file")
    settings: dict[str, Any] = {}
    if weights is not None:
        if not Path(weights).is_file():
            raise CheckpointError(f"no file {weights}; expected the weights of timm's {name}")
        settings["pretrained_cfg_overlay"] = {"file": str(weights)}
    try:
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
    return Module(network, name, size=int(about["input_size"][-1]), mean=about["mean"], std=about["std"])
