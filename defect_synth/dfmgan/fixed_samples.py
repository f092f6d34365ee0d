"""Samples with fixed codes: what every snapshot of stage 2 is scored with and shown by."""

from __future__ import annotations

import torch
from torch import Tensor

from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.region_painting import paint_pair
from defect_synth.engine.draws import Draws
from defect_synth.samples import signal_to_pixels

NUM_OBJECTS = 16
NUM_DEFECTS = 4


class FixedSamples:
    """The same objects, each with the same defects, from a generator that changes between the calls.

    Args:
        generator: The averaged generator; it is read at each call.
        seed: Seed of the codes.
        device: Where the generator is.
    """

    def __init__(self, generator: DFMGAN, seed: int, device: torch.device) -> None:
        self._generator, self._device = generator, device
        z_dim = generator.config.backbone.z_dim
        codes = Draws(seed, 0, 99, torch.device("cpu"))
        self._z_object = codes.normal(1, NUM_OBJECTS, z_dim)
        self._z_defect = codes.normal(2, NUM_OBJECTS * NUM_DEFECTS, z_dim).reshape(NUM_OBJECTS, NUM_DEFECTS, z_dim)

    @torch.no_grad()
    def draw(self, defects: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw every object without a defect and with `defects` (at most `NUM_DEFECTS`) of its defects.

        Returns:
            Clean images [G, 3, R, R], images [G, K, 3, R, R] and masks [G, K, R, R] in {0, 1}; uint8, on the CPU.
        """
        generator = self._generator
        cleans, images, masks = [], [], []
        for z_object, z_defects in zip(self._z_object, self._z_defect, strict=True):
            w_object = generator.backbone.rows(z_object[None].to(self._device))
            trunk = generator.trunk(w_object)
            cleans.append(generator.paint(trunk, w_object, None).image)
            for z_defect in z_defects[:defects]:
                w_defect = generator.defect_rows(z_defect[None].to(self._device))
                if self._device.type == "cpu":
                    out, _ = paint_pair(generator, trunk, w_object, w_defect)
                else:
                    out = generator.paint(trunk, w_object, w_defect)
                images.append(out.image)
                masks.append((out.mask_logits[:, 0] >= generator.threshold).to(torch.uint8))
        side = cleans[0].shape[2]
        return (
            signal_to_pixels(torch.cat(cleans).float()).cpu(),
            signal_to_pixels(torch.cat(images).float()).cpu().reshape(NUM_OBJECTS, defects, -1, side, side),
            torch.cat(masks).cpu().reshape(NUM_OBJECTS, defects, side, side),
        )
