"""DFMGAN: a frozen backbone, a defect mapping network and a residual branch (Fig. 2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.dfmgan.backbone import Backbone, MappingNetwork, Trunk, split_noise
from defect_synth.dfmgan.config import ModelConfig
from defect_synth.dfmgan.residual import ResidualBranch, manipulate
from defect_synth.dfmgan.small_components import remove_small_components
from defect_synth.nn.upfirdn import upsample2d

_BELOW_THRESHOLD = 1.0  # by so much: interpolation with any neighbour still gives no defect


class Synthesis(NamedTuple):
    """Image [N, 3, R, R], about [-1, 1], and mask logits [N, 1, R, R], defect where >= the threshold."""

    image: Tensor
    mask_logits: Tensor


class DFMGAN(nn.Module):
    """(z_object, z_defect) -> defect image with its mask, or the same object without the defect.

    The work is cut at the first residual block: everything below it (`trunk`) depends on z_object alone and is shared
    by all defects on that object, by the paired clean image and by the mode seeking pass.
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

    @property
    def defect_noise_numel(self) -> int:
        """Length of one sample's noise in the residual branch; the backbone's is `backbone.noise_numel`."""
        return sum(r * r for r in self.residual.noise_resolutions)

    def defect_rows(self, z_defect: Tensor, *, truncation: float = 1.0) -> Tensor:
        """z_defect [N, z_dim] -> w_defect [N, num_defect_ws, w_dim]."""
        return self.defect_mapping.rows(z_defect, self.config.num_defect_ws, truncation=truncation)

    def trunk(self, w_object: Tensor, noise_object: Tensor | None = None) -> Trunk:
        """The part that no defect changes: the blocks below the first residual block."""
        return self.backbone.trunk(w_object, noise_object, below=self.residual.resolutions[0])

    def mask(self, trunk: Trunk, w_defect: Tensor, noise_defect: Tensor | None = None) -> Tensor:
        """Mask logits [N, 1, R, R] without an image: one residual block instead of the whole network."""
        first = self.residual.resolutions[0]
        noise = split_noise(noise_defect, self.residual.noise_resolutions)
        logits = self.first_mask(self.residual.features(first, trunk.features, w_defect, noise), w_defect)
        for _ in self.residual.resolutions[1:]:
            logits = self.upsample_mask(logits)
        return logits

    def paint(
        self,
        trunk: Trunk,
        w_object: Tensor,
        w_defect: Tensor | None,
        noise_object: Tensor | None = None,
        noise_defect: Tensor | None = None,
        *,
        min_component: float = 0.0,
    ) -> Synthesis:
        """Finish a trunk: the defect image, or with `w_defect=None` the image without a defect.

        `region_painting.paint_pair` gives both for one sample at little more than the cost of one.

        Args:
            trunk: What `trunk` returned for `w_object`.
            w_object: [N, num_ws, w_dim].
            w_defect: [N, num_defect_ws, w_dim] or None.
            noise_object: [N, backbone.noise_numel]; None: the stored noise.
            noise_defect: [N, defect_noise_numel]; None: the stored noise.
            min_component: See `first_mask`; 0 in the paper and in training.
        """
        maps = split_noise(noise_object, self.backbone.noise_resolutions)
        defect_maps = split_noise(noise_defect, self.residual.noise_resolutions)
        x, rgb = trunk
        logits: Tensor | None = None
        for r in self.residual.resolutions:
            block = self.backbone.synthesis.block(r)
            ws, block_noise, w_rgb = self.backbone.block_inputs(r, w_object, maps)
            f_object = block.features(x, ws, block_noise)
            if w_defect is not None:
                f_defect = self.residual.features(r, x, w_defect, defect_maps)
                if logits is None:
                    logits = self.first_mask(f_defect, w_defect, min_component=min_component)
                else:
                    logits = self.upsample_mask(logits)
                f_object = manipulate(f_object, f_defect, logits, self.threshold)
            x = f_object
            rgb = block.accumulate(x, rgb, w_rgb)
        if logits is None:
            logits = rgb.new_full((rgb.shape[0], 1, *rgb.shape[2:]), -self.config.backbone.conv_clamp)
        return Synthesis(rgb, logits)

    def forward(
        self,
        w_object: Tensor,
        w_defect: Tensor | None,
        noise_object: Tensor | None = None,
        noise_defect: Tensor | None = None,
    ) -> Synthesis:
        """w_object [N, num_ws, w_dim], w_defect [N, num_defect_ws, w_dim] or None -> `Synthesis`."""
        return self.paint(self.trunk(w_object, noise_object), w_object, w_defect, noise_object, noise_defect)

    def first_mask(self, f_defect: Tensor, w_defect: Tensor, *, min_component: float = 0.0) -> Tensor:
        """Mask logits [N, 1, r, r] at the resolution r of the first residual block.

        Args:
            f_defect: Features of the first residual block, [N, C, r, r].
            w_defect: [N, num_defect_ws, w_dim].
            min_component: Connected components smaller than this share of the sample's largest one, and those that
                reach the border of the mask box, are removed; 0: none is. Not differentiable where it is not 0.
        """
        logits = self.residual.mask_logits(f_defect, w_defect).to(self.mask_dtype)
        if self.config.residual.mask_box is None:
            return remove_small_components(logits, self.threshold, min_component)
        side = logits.shape[-1]
        top, bottom, left, right = self.config.residual.mask_box
        y0, x0 = math.floor(top * side), math.floor(left * side)
        y1, x1 = math.ceil(bottom * side), math.ceil(right * side)
        outside = self.threshold - _BELOW_THRESHOLD
        logits = F.pad(logits[..., y0:y1, x0:x1], (x0, side - x1, y0, side - y1), value=outside)
        if min_component <= 0:
            return logits
        # The box is wider than the base masks: what reaches its border, unless that is the image's, is no defect.
        inner = torch.zeros(side, side, dtype=torch.bool, device=logits.device)
        inner[y0 + (y0 > 0) : y1 - (y1 < side), x0 + (x0 > 0) : x1 - (x1 < side)] = True
        return remove_small_components(logits, self.threshold, min_component, ~inner)

    def upsample_mask(self, logits: Tensor) -> Tensor:
        """Mask logits at the resolution of the next block."""
        # Summed in float32 and rounded once, which is what the float16 masks of official snapshots need.
        return upsample2d(logits.float()).to(self.mask_dtype)
