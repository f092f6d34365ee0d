"""Where to compute."""

from __future__ import annotations

import torch

from defect_synth.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device that a name stands for, if this machine has it.

    Args:
        name: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        ConfigError: There is no such name, or no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:0, ... or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but this machine has no usable CUDA GPU; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for, but it is not available here; use --device cpu")
    most = torch.cuda.device_count() if device.type == "cuda" else 1
    if device.type not in ("cpu", "cuda", "mps") or not 0 <= (device.index or 0) < most:
        raise ConfigError(f"device {name!r} cannot compute here; use auto, cpu, cuda, cuda:0, ... or mps")
    return device
