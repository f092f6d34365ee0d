"""DFMGAN: a frozen backbone, a defect mapping network and a residual branch (Fig. 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.dfmgan.backbone import Backbone, MappingNetwork, SynthesisBlock, Trunk, split_noise
from defect_synth.dfmgan.config import ModelConfig
from defect_synth.dfmgan.regions import Box, boxes
from defect_synth.dfmgan.residual import ResidualBlock, ResidualBranch, manipulate
from defect_synth.dfmgan.specks import without_specks
from defect_synth.nn.upfirdn import upsample2d

_FAR = 1.0  # below the threshold: a logit that is no defect whatever is interpolated with it


class Synthesis(NamedTuple):
    """Image [N, 3, R, R], about [-1, 1], and mask logits [N, 1, R, R], defect where >= the threshold."""

    image: Tensor
    mask_logits: Tensor


class DFMGAN(nn.Module):
    """(z_object, z_defect) -> defect image with its mask, or the same object without the defect.

    The work is cut at the first residual block: everything below (`trunk`) depends on z_object alone and is shared by
    all defects drawn on it, by the paired clean image and by the mode seeking pass.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        backbone = config.backbone
        self.backbone = Backbone(backbone)
        self.defect_mapping = MappingNetwork(backbone.z_dim, backbone.w_dim, backbone.mapping_layers)
        self.residual = ResidualBranch(config)
        self.threshold = config.residual.mask_threshold
        self.mask_dtype = torch.float16 if config.residual.mask_dtype == "float16" else torch.float32
        self.specks = 0.0
        """Share of the largest part of a mask, below which others are left out where no gradient is taken; 0: none."""

    @property
    def defect_noise_numel(self) -> int:
        """Length of one sample's noise in the residual branch; the backbone's is `backbone.noise_numel`."""
        return sum(r * r for r in self.residual.noise_resolutions)

    def defect_rows(self, z_defect: Tensor, *, truncation: float = 1.0) -> Tensor:
        """z_defect [N, z_dim] -> w_defect [N, num_defect_ws, w_dim]."""
        return self.defect_mapping.rows(z_defect, self.config.num_defect_ws, truncation=truncation)

    def trunk(self, w_object: Tensor, noise_object: Tensor | None = None) -> Trunk:
        """The part that no defect changes: blocks below the first residual block."""
        return self.backbone.trunk(w_object, noise_object, below=self.residual.resolutions[0])

    def mask(self, trunk: Trunk, w_defect: Tensor, noise_defect: Tensor | None = None) -> Tensor:
        """Full-resolution mask logits [N, 1, R, R] without painting: one residual block, not the network."""
        first = self.residual.resolutions[0]
        noise = split_noise(noise_defect, self.residual.noise_resolutions)
        logits = self._mask_logits(self.residual.features(first, trunk.features, w_defect, noise), w_defect)
        for _ in self.residual.resolutions[1:]:
            logits = self._upsampled(logits)
        return logits

    def paint(
        self,
        trunk: Trunk,
        w_object: Tensor,
        w_defect: Tensor | None,
        noise_object: Tensor | None = None,
        noise_defect: Tensor | None = None,
    ) -> Synthesis:
        """Finish a trunk: with w_defect the defect image, with None the defect-free one (no pixel has a defect)."""
        if w_defect is not None and len(w_object) == 1 and not torch.is_grad_enabled() and not w_object.is_cuda:
            return self.pair(trunk, w_object, w_defect, noise_object, noise_defect)[0]
        maps = split_noise(noise_object, self.backbone.noise_resolutions)
        defect_noise = split_noise(noise_defect, self.residual.noise_resolutions)
        x, rgb = trunk
        logits: Tensor | None = None
        for r in self.residual.resolutions:
            block = self.backbone.synthesis.block(r)
            ws, block_noise, w_rgb = self.backbone.block_inputs(r, w_object, maps)
            f_object = block.features(x, ws, block_noise)
            if w_defect is not None:
                f_defect = self.residual.features(r, x, w_defect, defect_noise)
                logits = self._mask_logits(f_defect, w_defect) if logits is None else self._upsampled(logits)
                f_object = manipulate(f_object, f_defect, logits, self.threshold)
            x = f_object
            rgb = block.accumulate(x, rgb, w_rgb)
        if logits is None:
            logits = rgb.new_full((rgb.shape[0], 1, *rgb.shape[2:]), -self.config.backbone.conv_clamp)
        return Synthesis(rgb, logits)

    @torch.no_grad()
    def pair(
        self,
        trunk: Trunk,
        w_object: Tensor,
        w_defect: Tensor,
        noise_object: Tensor | None = None,
        noise_defect: Tensor | None = None,
    ) -> tuple[Synthesis, Tensor]:
        """One sample (N = 1) with its defect, and the same object without: [1, 3, R, R].

        The defect is painted onto the features of the defect-free object, where it can be and nowhere else, so that
        both together cost little more than one. Equal to two calls of `paint` up to rounding.
        """
        maps = split_noise(noise_object, self.backbone.noise_resolutions)
        defect_maps = split_noise(noise_defect, self.residual.noise_resolutions)
        resolutions = self.residual.resolutions
        f_defect = self.residual.features(resolutions[0], trunk.features, w_defect, defect_maps)
        all_logits = [self._mask_logits(f_defect, w_defect)]
        for _ in resolutions[1:]:
            all_logits.append(self._upsampled(all_logits[-1]))
        gates = [part >= self.threshold for part in all_logits]
        changed = boxes(gates)
        clean = painted = trunk.features
        clean_rgb = rgb = trunk.rgb
        for i, r in enumerate(resolutions):
            block = self.backbone.synthesis.block(r)
            ws, noise, w_rgb = self.backbone.block_inputs(r, w_object, maps)
            before, clean = painted, block.features(clean, ws, noise)
            colour = block.to_rgb(clean, w_rgb).float()
            clean_rgb, rgb = upsample2d(clean_rgb) + colour, upsample2d(rgb)
            if i:
                changed = [box.after_block(r) for box in changed]
            needed = bool(changed) and r < resolutions[-1]  # by the next block
            painted = clean.clone() if needed else clean
            painted_colour = colour.clone() if changed else colour
            for box in changed:
                read = box.read_by_block(r // 2) if i else Box(0, r // 2, 0, r // 2)
                wrote = read.doubled()
                x = read.of(before)
                if i:
                    f_object = block.features(x, ws, [wrote.of(part) for part in _maps(noise, block)])
                    noise_r = _maps(defect_maps[2 * i : 2 * i + 2], self.residual.block(r))
                    crops: list[Tensor | None] = [wrote.of(part) for part in noise_r]
                    f_defect = self.residual.features(r, x, w_defect, [*[None] * (2 * i), *crops])
                else:
                    f_object = clean
                part = box.inside(wrote).of(manipulate(f_object, f_defect, wrote.of(all_logits[i]), self.threshold))
                if needed:
                    box.of(painted).copy_(part)
                box.of(painted_colour).copy_(block.to_rgb(part, w_rgb).float())
            rgb = rgb + painted_colour
        return Synthesis(rgb, all_logits[-1]), clean_rgb

    def forward(
        self,
        w_object: Tensor,
        w_defect: Tensor | None,
        noise_object: Tensor | None = None,
        noise_defect: Tensor | None = None,
    ) -> Synthesis:
        """w_object [N, num_ws, w_dim], w_defect [N, num_defect_ws, w_dim] or None -> `Synthesis`."""
        return self.paint(self.trunk(w_object, noise_object), w_object, w_defect, noise_object, noise_defect)

    def _mask_logits(self, f_defect: Tensor, w_defect: Tensor) -> Tensor:
        logits = self.residual.mask_logits(f_defect, w_defect).to(self.mask_dtype)
        cleaned = self.specks > 0 and not torch.is_grad_enabled()
        if self.config.residual.mask_box is None:
            return without_specks(logits, self.threshold, self.specks) if cleaned else logits
        side = logits.shape[-1]
        top, bottom, left, right = self.config.residual.mask_box
        y0, x0 = math.floor(top * side), math.floor(left * side)
        y1, x1 = math.ceil(bottom * side), math.ceil(right * side)
        logits = F.pad(logits[..., y0:y1, x0:x1], (x0, side - x1, y0, side - y1), value=self.threshold - _FAR)
        if not cleaned:
            return logits
        # The box is wider than where base masks are: what reaches its edge, unless that is the image's, is none.
        inner = torch.zeros(side, side, dtype=torch.bool, device=logits.device)
        inner[y0 + (y0 > 0) : y1 - (y1 < side), x0 + (x0 > 0) : x1 - (x1 < side)] = True
        return without_specks(logits, self.threshold, self.specks, ~inner)

    def _upsampled(self, logits: Tensor) -> Tensor:
        # Summed in float32 and rounded once, which is what the float16 masks of official snapshots need.
        return upsample2d(logits.float()).to(self.mask_dtype)


def _maps(noise: Sequence[Tensor | None], block: SynthesisBlock | ResidualBlock) -> list[Tensor]:
    """The noise of a block's two convolutions, [1, 1, r, r] each, the stored one where there is none."""
    layers = (block.up, block.conv)
    return [layer.noise_const[None, None] if part is None else part for part, layer in zip(noise, layers, strict=True)]
