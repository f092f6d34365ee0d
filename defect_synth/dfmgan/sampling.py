"""Codes -> pixels: images, masks and paired clean images of a trained DFMGAN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from defect_synth.dfmgan.code_pair import CodePair
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.region_painting import paint_pair
from defect_synth.errors import ConfigError
from defect_synth.nn.threads import map_on_threads
from defect_synth.samples import Pixels, signal_to_pixels
from defect_synth.weights.finite import require_finite_output

MIN_COMPONENT = 0.2
"""Default of `SamplingSettings.min_component`."""

_GPU_BATCH = 16
"""On a GPU every forward pass has exactly this many samples, the last one padded: another batch shape could choose
another kernel, and with it other last bits."""


@dataclass(frozen=True)
class SamplingSettings:
    """What a sample depends on besides weights and codes.

    Attributes:
        truncation_object: psi for w_object, 0 to 2; below 1: more typical objects, less variety.
        truncation_defect: psi for w_defect, 0 to 2.
        min_component: Connected components of a mask that are smaller than this share of its largest one, or that
            reach the border of the box around the base masks, are neither painted nor labelled; 0: all of them are,
            as in the paper.

    Raises:
        ConfigError: A value is out of its bounds.
    """

    truncation_object: float = 1.0
    truncation_defect: float = 1.0
    min_component: float = MIN_COMPONENT

    def __post_init__(self) -> None:
        for name, upper in (("truncation_object", 2), ("truncation_defect", 2), ("min_component", 1)):
            value = getattr(self, name)
            if not 0 <= value <= upper:
                raise ConfigError(f"{name} must lie in [0, {upper}], got {value}")


class DrawnSample(NamedTuple):
    """Image uint8 [R, R, 3], mask uint8 [R, R] in {0, 1}, and the clean image or None."""

    image: Pixels
    mask: Pixels
    clean: Pixels | None


def draw_samples(
    network: DFMGAN, codes: Sequence[CodePair], settings: SamplingSettings, device: torch.device, *, clean: bool
) -> list[DrawnSample]:
    """Draw one sample for each pair of codes.

    On the CPU each sample is computed alone, on one thread, by `paint_pair`; elsewhere in batches of one size. Either
    way a sample does not depend on the others.

    Args:
        network: The networks, on `device`.
        codes: One pair for each sample.
        settings: Truncation, and which parts of masks are left out.
        device: Where to compute.
        clean: Whether to give the clean image, too.
    """
    if device.type == "cpu":
        return map_on_threads(partial(_draw_alone, network, settings=settings, clean=clean), codes)
    drawn: list[DrawnSample] = []
    for start in range(0, len(codes), _GPU_BATCH):
        batch = list(codes[start : start + _GPU_BATCH])
        padded = batch + [batch[-1]] * (_GPU_BATCH - len(batch))
        drawn += _draw_batch(network, padded, settings, device, clean=clean)[: len(batch)]
    return drawn


@torch.no_grad()
def _draw_alone(network: DFMGAN, codes: CodePair, *, settings: SamplingSettings, clean: bool) -> DrawnSample:
    w_object, w_defect = _rows(network, [codes], settings, torch.device("cpu"))
    trunk = network.trunk(w_object)
    out, without = paint_pair(network, trunk, w_object, w_defect, min_component=settings.min_component)
    require_finite_output(out.image, out.mask_logits)
    mask = (out.mask_logits[0, 0] >= network.threshold).to(torch.uint8).numpy()
    return DrawnSample(_to_pixels(out.image)[0], mask, _to_pixels(without)[0] if clean else None)


@torch.no_grad()
def _draw_batch(
    network: DFMGAN, codes: Sequence[CodePair], settings: SamplingSettings, device: torch.device, *, clean: bool
) -> list[DrawnSample]:
    w_object, w_defect = _rows(network, codes, settings, device)
    trunk = network.trunk(w_object)
    out = network.paint(trunk, w_object, w_defect, min_component=settings.min_component)
    require_finite_output(out.image, out.mask_logits)
    cleans = _to_pixels(network.paint(trunk, w_object, None).image) if clean else [None] * len(codes)
    masks = (out.mask_logits[:, 0] >= network.threshold).to(torch.uint8).cpu().numpy()
    return [DrawnSample(*parts) for parts in zip(_to_pixels(out.image), masks, cleans, strict=True)]


def _rows(
    network: DFMGAN, codes: Sequence[CodePair], settings: SamplingSettings, device: torch.device
) -> tuple[Tensor, Tensor]:
    """w_object [N, num_ws, w_dim] and w_defect [N, num_defect_ws, w_dim]."""
    z_object = torch.stack([pair.z_object for pair in codes]).to(device)
    z_defect = torch.stack([pair.z_defect for pair in codes]).to(device)
    return (
        network.backbone.rows(z_object, truncation=settings.truncation_object),
        network.defect_rows(z_defect, truncation=settings.truncation_defect),
    )


def _to_pixels(images: Tensor) -> list[Pixels]:
    """Signal [N, 1 or 3, R, R] -> N images uint8 [R, R, 3]."""
    pixels = signal_to_pixels(images.float()).permute(0, 2, 3, 1).cpu().numpy()
    if pixels.shape[3] == 1:
        pixels = np.repeat(pixels, 3, axis=3)
    return [np.ascontiguousarray(image) for image in pixels]
