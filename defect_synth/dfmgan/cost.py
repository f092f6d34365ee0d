"""Parameters, operations and memory of the networks of a configuration, counted without computing anything."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from defect_synth.dfmgan.config import ModelConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN


def count_parameters(*modules: nn.Module) -> int:
    """How many trainable numbers `modules` have."""
    return sum(p.numel() for module in modules for p in module.parameters())


def describe(config: ModelConfig) -> str:
    """A table of the networks of Fig. 2: trainable parameters, FLOPs per image, float32 memory of the weights.

    Args:
        config: Sizes of the networks.
    """
    with torch.device("meta"):
        generator = DFMGAN(config)
        discriminator = build_discriminator(config)
        match = build_match_discriminator(config)
    backbone = config.backbone
    image = torch.empty(1, backbone.image_channels, backbone.resolution, backbone.resolution, device="meta")
    mask = image[:, :1]
    w_object = torch.empty(1, backbone.num_ws, backbone.w_dim, device="meta")
    w_defect = torch.empty(1, config.num_defect_ws, backbone.w_dim, device="meta")
    whole = _flops(lambda: generator(w_object, w_defect))
    clean = _flops(lambda: generator(w_object, None))
    rows = [
        ("backbone (mapping, synthesis)", count_parameters(generator.backbone), clean),
        ("defect mapping, residual blocks, ToMask", count_parameters(generator.defect_mapping, generator.residual),
         whole - clean),
        ("D", count_parameters(discriminator), _flops(lambda: discriminator(image))),
        ("D_match", count_parameters(match), _flops(lambda: match(torch.cat([image, mask], dim=1)))),
    ]  # fmt: skip
    lines = [
        f"resolution {backbone.resolution}, residual blocks at {', '.join(map(str, config.residual_resolutions))}, "
        f"{backbone.num_ws} rows of w_object, {config.num_defect_ws} of w_defect",
        f"{'network':<42}{'parameters':>14}{'GFLOP/image':>14}{'MiB float32':>14}",
    ]
    for name, parameters, flops in rows:
        lines.append(f"{name:<42}{parameters:>14,}{flops / 1e9:>14.2f}{parameters * 4 / 2**20:>14.1f}")
    widest = max(r * r * backbone.channels(r) for r in backbone.block_resolutions)
    weights = sum(row[1] for row in rows[:2]) * 4 / 2**20
    lines.append(
        f"generating takes the weights ({weights:.0f} MiB) and about {8 * widest * 4 / 2**20:.0f} MiB per image"
    )
    return "\n".join(lines)


def _flops(call: object) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        call()  # type: ignore[operator]
    return counter.get_total_flops()
