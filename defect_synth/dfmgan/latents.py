"""Codes and noise of the generator for a training batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from defect_synth.dfmgan.config import ModelConfig
from defect_synth.engine.draws import Draws


@dataclass(frozen=True)
class Latents:
    """Codes and noise of one batch.

    Attributes:
        z_object: [N, z_dim].
        z_defect: [N, z_dim], or None in stage 1.
        z_object_mix: Second codes for style mixing, [N, z_dim].
        z_defect_mix: The same for z_defect, or None in stage 1.
        cut_object: First row of w_object that comes from the second code; None: no mixing.
        cut_defect: The same for w_defect.
        noise_object: [N, backbone.noise_numel], or None for the stored noise.
        noise_defect: [N, defect_noise_numel], or None.
        noise_object_2: Noise of the second pass of Eq. 2, [N / 2, ...], where the passes do not share it.
        noise_defect_2: The same for the residual branch.
    """

    z_object: Tensor
    z_defect: Tensor | None = None
    z_object_mix: Tensor | None = None
    z_defect_mix: Tensor | None = None
    cut_object: int | None = None
    cut_defect: int | None = None
    noise_object: Tensor | None = None
    noise_defect: Tensor | None = None
    noise_object_2: Tensor | None = None
    noise_defect_2: Tensor | None = None

    def __len__(self) -> int:
        return self.z_object.shape[0]

    def part(self, start: int, stop: int) -> Latents:
        """Samples start..stop; both are even where there is noise for a second pass, which has half as many rows."""
        tensors: dict[str, Any] = {
            name: value[start // 2 : stop // 2] if name.endswith("_2") else value[start:stop]
            for name, value in self.__dict__.items()
            if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


def draw_latents(
    draws: Draws, batch: int, config: ModelConfig, *, mixing_prob: float, noise: int, defect_noise: int, second: bool
) -> Latents:
    """Draw codes and noise for a phase.

    Args:
        draws: Where they come from.
        batch: How many samples.
        config: Sizes of the networks.
        mixing_prob: Probability that the batch mixes styles; the cut is uniform (Karras et al. 2019).
        noise: `backbone.noise_numel`.
        defect_noise: `defect_noise_numel`; 0 in stage 1.
        second: Also draw the noise of the second pass of Eq. 2.
    """
    z_dim = config.backbone.z_dim
    stage2 = defect_noise > 0
    choice = draws.uniform(0, 4)

    def cut(chance: Tensor, place: Tensor, rows: int) -> int | None:
        return 1 + int(place * (rows - 1)) if float(chance) < mixing_prob else None

    half = batch // 2
    return Latents(
        z_object=draws.normal(1, batch, z_dim),
        z_defect=draws.normal(2, batch, z_dim) if stage2 else None,
        z_object_mix=draws.normal(3, batch, z_dim),
        z_defect_mix=draws.normal(4, batch, z_dim) if stage2 else None,
        cut_object=cut(choice[0], choice[1], config.backbone.num_ws),
        cut_defect=cut(choice[2], choice[3], config.num_defect_ws) if stage2 else None,
        noise_object=draws.normal(5, batch, noise),
        noise_defect=draws.normal(6, batch, defect_noise) if stage2 else None,
        noise_object_2=draws.normal(7, half, noise) if second else None,
        noise_defect_2=draws.normal(8, half, defect_noise) if second else None,
    )
