"""How many images fit into a backward pass, estimated from the sizes of the networks.

The memory of training grows with the number of images in a backward pass. Most of it holds the features of every
resolution in the phases that differentiate twice (R1, path length). The factors below are measured: peak resident
memory of whole iterations, float32 on a CPU, FAST_64 and FAST_128 with 4 and 8 images. Half precision needs less.
"""

from __future__ import annotations

import torch

from defect_synth.dfmgan.config import StageName, TrainConfig
from defect_synth.dfmgan.cost import count_parameters
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.errors import ConfigError

_GIB = 2**30
_PROGRAM = 0.45  # GiB of libraries and buffers of kernels
_COPIES = 5  # of each weight: the weight, its gradient, two moments of Adam, its average
_FEATURE_MAPS = {"pretrain": 26, "transfer": 32}
"""How many float32 feature maps of each resolution a backward pass holds for each image."""


def memory_needed(config: TrainConfig, stage: StageName, micro_batch: int) -> float:
    """GiB that training a stage takes with `micro_batch` images per backward pass."""
    with torch.device("meta"):
        modules = [DFMGAN(config.model), build_discriminator(config.model)]
        if stage == "transfer":
            modules.append(build_match_discriminator(config.model))
    backbone = config.model.backbone
    features = sum(side * side * backbone.channels(side) for side in backbone.block_resolutions)
    weights = count_parameters(*modules) * _COPIES
    return _PROGRAM + 4 * (weights + features * _FEATURE_MAPS[stage] * micro_batch) / _GIB


def largest_micro_batches(config: TrainConfig, gib: float, processes: int = 1) -> dict[StageName, int]:
    """The largest micro-batch of each stage that should fit into `gib` GiB and that `processes` can share.

    Raises:
        ConfigError: Not even the smallest fits, or the batch cannot be shared by so many processes.
    """
    chosen: dict[StageName, int] = {}
    stages: tuple[StageName, ...] = ("pretrain", "transfer")
    for stage in stages:
        batch = getattr(config, stage).batch
        # Never more than the default, so that losses are the same wherever there is enough memory.
        most = config.micro_batch(stage) if processes == 1 else batch // processes
        sizes = [s for s in config.micro_batches(stage) if s <= most and batch // s % processes == 0]
        if not sizes:
            raise ConfigError(f"{stage}.batch {batch} cannot be shared evenly by {processes} processes")
        fit = [size for size in sizes if memory_needed(config, stage, size) <= gib]
        if not fit:
            least = memory_needed(config, stage, sizes[0])
            raise ConfigError(
                f"--max-memory {gib:g} is too little: {stage} needs about {least:.1f} GiB even with {sizes[0]} images "
                "per backward pass; use a smaller preset or --resolution"
            )
        chosen[stage] = fit[-1]
    return chosen
