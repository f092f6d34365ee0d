"""Demodulation of style-modulated convolutions (Karras et al. 2020b, Sec. 2.2)."""

from __future__ import annotations

from torch import Tensor

from defect_synth.nn.weight_cache import cached


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """Factors that give each output channel of a modulated convolution unit expected power (Eq. 3, StyleGAN2).

    StyleGAN2 scales the filters of each sample by its style. Scaling the input channels by the style, convolving the
    whole batch with the same filters, and scaling the output channels by these factors is the same by linearity, and
    two to three times as fast on a CPU.

    Args:
        weight: [O, I, kh, kw].
        style: [N, I].

    Returns:
        float32 [N, O]: 1 / sqrt(sum over I, kh, kw of (weight * style)^2 + 1e-8).
    """
    power = cached(weight, "power", lambda: weight.float().square().sum(dim=(2, 3)))  # [O, I]
    return (style.float().square() @ power.t() + 1e-8).rsqrt()
