"""Paint one sample's defect where its mask can change something, and nowhere else.

Eq. 1 leaves the features outside the mask as they are, so the defect is painted box by box onto the features of the
defect-free image, which is needed anyway as the other half of the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.dfmgan.backbone import SynthesisBlock, Trunk, split_noise
from defect_synth.dfmgan.generator import DFMGAN, Synthesis
from defect_synth.dfmgan.residual import ResidualBlock, manipulate
from defect_synth.nn.upfirdn import upsample2d

_CELL = 4  # pixels of the first residual resolution; components nearer than this share a box
_REACH = 4  # pixels by which one block's up-convolution, filter and convolution spread a change, at its own resolution
_MARGIN = 3  # pixels around half of its output box that a block reads of its input


@torch.no_grad()
def paint_pair(
    generator: DFMGAN,
    trunk: Trunk,
    w_object: Tensor,
    w_defect: Tensor,
    noise_object: Tensor | None = None,
    noise_defect: Tensor | None = None,
    *,
    min_component: float = 0.0,
) -> tuple[Synthesis, Tensor]:
    """Paint one sample (N = 1) on the CPU, with its defect and without.

    Equal to two calls of `DFMGAN.paint` up to rounding. It skips what the mask cannot change: the residual blocks, and
    the second pass through the backbone's blocks, outside boxes around the mask. Without gradients.

    Args:
        generator: The networks.
        trunk: What `generator.trunk` returned for `w_object`.
        w_object: [1, num_ws, w_dim].
        w_defect: [1, num_defect_ws, w_dim].
        noise_object: [1, backbone.noise_numel]; None: the stored noise.
        noise_defect: [1, defect_noise_numel]; None: the stored noise.
        min_component: See `DFMGAN.first_mask`.

    Returns:
        The sample with its defect, and the image without it, [1, 3, R, R].
    """
    maps = split_noise(noise_object, generator.backbone.noise_resolutions)
    defect_maps = split_noise(noise_defect, generator.residual.noise_resolutions)
    resolutions = generator.residual.resolutions
    f_defect = generator.residual.features(resolutions[0], trunk.features, w_defect, defect_maps)
    all_logits = [generator.first_mask(f_defect, w_defect, min_component=min_component)]
    for _ in resolutions[1:]:
        all_logits.append(generator.upsample_mask(all_logits[-1]))
    changed = boxes([logits >= generator.threshold for logits in all_logits])
    clean = painted = trunk.features
    clean_rgb = rgb = trunk.rgb
    for i, r in enumerate(resolutions):
        block = generator.backbone.synthesis.block(r)
        ws, noise, w_rgb = generator.backbone.block_inputs(r, w_object, maps)
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
                noise_r = _maps(defect_maps[2 * i : 2 * i + 2], generator.residual.block(r))
                crops: list[Tensor | None] = [wrote.of(part) for part in noise_r]
                f_defect = generator.residual.features(r, x, w_defect, [*[None] * (2 * i), *crops])
            else:
                f_object = clean
            manipulated = manipulate(f_object, f_defect, wrote.of(all_logits[i]), generator.threshold)
            part = box.inside(wrote).of(manipulated)
            if needed:
                box.of(painted).copy_(part)
            box.of(painted_colour).copy_(block.to_rgb(part, w_rgb).float())
        rgb = rgb + painted_colour
    return Synthesis(rgb, all_logits[-1]), clean_rgb


class Box(NamedTuple):
    """Rows top..bottom and columns left..right of a map; bottom and right are excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, map_: Tensor) -> Tensor:
        """This part of [N, C, H, W]."""
        return map_[:, :, self.top : self.bottom, self.left : self.right]

    def after_block(self, size: int) -> Box:
        """What a block of side `size` can change when this much of its input changed."""
        top, left = (max(0, 2 * side - _REACH) for side in (self.top, self.left))
        bottom, right = (min(size, 2 * side + _REACH) for side in (self.bottom, self.right))
        return Box(top, bottom, left, right)

    def read_by_block(self, size: int) -> Box:
        """What a block reads of its input of side `size` to give this part of its output."""
        top, left = (max(0, side // 2 - _MARGIN) for side in (self.top, self.left))
        bottom, right = (min(size, -(-side // 2) + _MARGIN) for side in (self.bottom, self.right))
        return Box(top, bottom, left, right)

    def doubled(self) -> Box:
        """The same part of a map twice as large."""
        return Box(*(2 * side for side in self))

    def inside(self, outer: Box) -> Box:
        """This box counted from the corner of `outer`."""
        return Box(self.top - outer.top, self.bottom - outer.top, self.left - outer.left, self.right - outer.left)


def boxes(masks: list[Tensor]) -> list[Box]:
    """Boxes at the resolution of the first mask that hold every pixel that is set in any of the masks.

    Args:
        masks: bool [1, 1, r, r], [1, 1, 2r, 2r], ...
    """
    size = masks[0].shape[2]
    cells = torch.zeros(1, 1, size // _CELL, size // _CELL)
    for mask in masks:
        cells = torch.maximum(cells, F.max_pool2d(mask.float(), mask.shape[2] // cells.shape[2]))
    found = []
    count, _, stats, _ = cv2.connectedComponentsWithStats(cells[0, 0].numpy().astype(np.uint8), connectivity=8)
    for left, top, width, height, _area in stats[1:count].tolist():
        found.append(Box(top * _CELL, (top + height) * _CELL, left * _CELL, (left + width) * _CELL))
    # Boxes overlap once their surroundings are read too: a scattered mask is cheaper in one piece.
    if sum((box.bottom - box.top + 2 * _MARGIN) * (box.right - box.left + 2 * _MARGIN) for box in found) > size * size:
        return [Box(0, size, 0, size)]
    return found


def _maps(noise: Sequence[Tensor | None], block: SynthesisBlock | ResidualBlock) -> list[Tensor]:
    """The noise of a block's two convolutions, [1, 1, r, r] each, the stored one where there is none."""
    layers = (block.up, block.conv)
    return [layer.noise_const[None, None] if part is None else part for part, layer in zip(noise, layers, strict=True)]
