"""The number format of the convolutions."""

from __future__ import annotations

import torch
from torch import nn

from defect_synth.config import Precision
from defect_synth.dfmgan.backbone import SynthesisBlock
from defect_synth.dfmgan.discriminators import DiscriminatorBlock
from defect_synth.dfmgan.residual import ResidualBlock
from defect_synth.errors import ConfigError

_REDUCED_RESOLUTIONS = 4  # the highest four; below them the work is small, and float32 costs nothing

_FLOAT16_CLAMP = 8192.0  # a convolution adds up products of clamped values; the largest float16 is 65504


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The number format that a setting stands for on a device.

    `auto` takes bfloat16 where the device multiplies it natively: GPUs from Ampere on, CPUs with AVX512-BF16 or AMX.
    Other CPUs emulate bfloat16, several times slower than float32.

    Raises:
        ConfigError: float16 on a CPU.
    """
    if precision == "float16" and device.type == "cpu":
        raise ConfigError("precision float16 needs a GPU; on a CPU use float32, bfloat16 or auto")
    if precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    if device.type == "cpu" and cpu_has_bfloat16():
        return torch.bfloat16
    return torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether this processor has bfloat16 matrix instructions."""
    capability = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(bool(capability.get(name)) for name in ("avx512_bf16", "amx_bf16", "amx_tile"))


def set_precision(module: nn.Module, dtype: torch.dtype) -> None:
    """Make the convolutions of the highest four resolutions compute in `dtype`; weights and images stay float32.

    Raises:
        ConfigError: float16 for a network whose activations are not clamped enough to stay finite.
    """
    blocks = [m for m in module.modules() if isinstance(m, SynthesisBlock | ResidualBlock)]
    down = [m for m in module.modules() if isinstance(m, DiscriminatorBlock)]  # from the highest resolution down
    widest = max([block.conv.clamp for block in (*blocks, *down)], default=0.0)
    if dtype == torch.float16 and widest > _FLOAT16_CLAMP:
        raise ConfigError(
            f"precision float16 needs activations clamped to at most {_FLOAT16_CLAMP:g}, but this network's conv_clamp "
            f"is {widest:g} (a network trained without one); use precision float32 or bfloat16"
        )
    top = max((_resolution(block) for block in blocks), default=0)
    for block in blocks:
        reduced = _resolution(block) > top >> _REDUCED_RESOLUTIONS
        block.compute_dtype = dtype if reduced else torch.float32
    for i, disc_block in enumerate(down):
        disc_block.compute_dtype = dtype if i < _REDUCED_RESOLUTIONS else torch.float32


def _resolution(block: SynthesisBlock | ResidualBlock) -> int:
    return block.conv.resolution
