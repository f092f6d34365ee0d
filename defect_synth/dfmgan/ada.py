"""Adaptive discriminator augmentation (Karras et al. 2020a): draw transforms, apply them, adapt their probability.

`draw` is a pure function of uniform numbers, and `augment` one of what was drawn. The transforms are pixel blitting,
general geometry and colour ("bgc" in the paper).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.dfmgan.config import AugmentConfig
from defect_synth.nn.upfirdn import Taps, upfirdn2d

NUM_UNIFORMS = 28
"""Uniform numbers for one image: 15 values, then one number for each of 13 transforms that decides if it happens."""

# Orthogonal symlet with 6 vanishing moments, decomposition low-pass, scaled to sum 1 (Daubechies 1992).
_SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
LOW_PASS: Taps = tuple(tap / sum(_SYM6) for tap in _SYM6)
_FILTER_SHIFT = 0.25
"""The symlet is asymmetric: doubling shifts an image by a quarter pixel, so maps act about a shifted centre."""
_REACH = len(LOW_PASS) // 2  # pixels of the doubled grid that the filter covers on either side


@dataclass(frozen=True)
class Augmentation:
    """The transforms of a batch.

    Attributes:
        inverse: [N, 3, 3]; maps centred pixel coordinates (x, y, 1) of the output to those of the input.
        color: [N, 4, 4]; acts on (r, g, b, 1).
    """

    inverse: Tensor
    color: Tensor


def draw(config: AugmentConfig, p: float, uniforms: Tensor, size: int) -> Augmentation:
    """Turn uniform numbers into one augmentation per image.

    Args:
        config: Strengths in [0, 1] by which the probability of each transform is multiplied.
        p: Probability of each transform.
        uniforms: [N, NUM_UNIFORMS] in [0, 1).
        size: Side of the images in pixels, to which translations are relative.
    """
    u = uniforms.double().cpu()
    value, chance = u[:, :15], u[:, 15:]

    def on(number: int, strength: float, probability: float = p) -> Tensor:
        return chance[:, number] < probability * strength

    def normal(number: int, std: float) -> Tensor:
        clipped = value[:, number].clamp(1e-6, 1 - 1e-6)
        return torch.erfinv(clipped * 2 - 1) * (math.sqrt(2) * std)

    def turn(number: int) -> Tensor:
        return (value[:, number] * 2 - 1) * math.pi

    # Each line: the parameter of one transform, or that of the identity. The rotations before and after the anisotropic
    # scaling have the joint probability p.
    rotation_p = 1 - math.sqrt(1 - min(p, 1.0))
    flip = torch.where(on(0, config.flip), 1 - 2 * (value[:, 0] * 2).floor(), 1.0)
    quarter = torch.where(on(1, config.rotate90), (value[:, 1] * 4).floor() * (math.pi / 2), 0.0)
    blit = torch.where(
        on(2, config.integer_translation)[:, None], ((value[:, 2:4] * 2 - 1) * 0.125 * size).round(), 0.0
    )
    scale = torch.where(on(3, config.scale), torch.exp2(normal(4, 0.2)), 1.0)
    before = torch.where(on(4, config.rotate, rotation_p), turn(5), 0.0)
    stretch = torch.where(on(5, config.anisotropic_scale), torch.exp2(normal(6, 0.2)), 1.0)
    after = torch.where(on(6, config.rotate, rotation_p), turn(7), 0.0)
    shift = torch.where(
        on(7, config.translation)[:, None], torch.stack([normal(8, 0.125), normal(9, 0.125)], 1) * size, 0.0
    )
    one = torch.ones_like(flip)
    inverse = _scaling(flip, one)
    inverse = inverse @ _rotation(quarter)
    inverse = inverse @ _translation(-blit)
    inverse = inverse @ _scaling(1 / scale, 1 / scale)
    inverse = inverse @ _rotation(before)
    inverse = inverse @ _scaling(1 / stretch, stretch)
    inverse = inverse @ _rotation(after)
    inverse = inverse @ _translation(-shift)

    axis = torch.full((3,), 1 / math.sqrt(3), dtype=torch.float64)
    grey = torch.outer(axis, axis)
    eye = torch.eye(3, dtype=torch.float64)
    brightness = torch.where(on(8, config.brightness), normal(10, 0.2), 0.0)
    contrast = torch.where(on(9, config.contrast), torch.exp2(normal(11, 0.5)), 1.0)
    luma = torch.where(on(10, config.luma_flip), (value[:, 12] * 2).floor(), 0.0)
    hue = torch.where(on(11, config.hue), turn(13), 0.0)
    saturation = torch.where(on(12, config.saturation), torch.exp2(normal(14, 1.0)), 1.0)
    color = torch.eye(4, dtype=torch.float64).repeat(len(u), 1, 1)
    color[:, :3, 3] = brightness[:, None]
    color = _embedded(contrast[:, None, None] * eye) @ color
    color = _embedded(eye - 2 * luma[:, None, None] * grey) @ color
    color = _embedded(_turn_about_grey(hue)) @ color
    color = _embedded(grey + saturation[:, None, None] * (eye - grey)) @ color
    return Augmentation(inverse.float(), color.float())


def augment(images: Tensor, augmentation: Augmentation) -> Tensor:
    """Apply geometry, then colour, to images [N, 1 or 3, H, W] in [-1, 1]."""
    return apply_color(apply_geometry(images, augmentation.inverse), augmentation.color)


def augment_pair(images: Tensor, masks: Tensor, augmentation: Augmentation) -> tuple[Tensor, Tensor]:
    """Apply the geometry to image [N, C, H, W] and mask [N, 1, H, W] together, for D_match; without colour."""
    both = apply_geometry(torch.cat([images, masks], dim=1), augmentation.inverse)
    return both[:, :-1], both[:, -1:].clamp(-1, 1)  # the low-pass may overshoot a hard edge


def apply_geometry(images: Tensor, inverse: Tensor) -> Tensor:
    """Resample images [N, C, H, W] by `inverse` [N, 3, 3], with reflection at the borders; twice differentiable.

    The images are doubled with a sharp low-pass filter, sampled bilinearly and halved with the same filter, so that D
    cannot recognise augmented images by aliasing or blur. Images whose map is the identity stay the same, bit for bit.
    """
    moved = (inverse != torch.eye(3)).flatten(1).any(dim=1)
    if not moved.any():
        return images
    if not moved.all():
        chosen = moved.nonzero()[:, 0].to(images.device)
        return images.index_copy(0, chosen, apply_geometry(images[chosen], inverse[moved]))
    height, width = images.shape[2:]
    left, right, top, bottom = _margins(inverse, width, height)
    padded = F.pad(images, (left, right, top, bottom), mode="reflect")
    doubled = upfirdn2d(padded, LOW_PASS, up=2, pad=(_REACH, _REACH - 1), gain=4.0)

    # Coordinates of the doubled output grid, with a border that the final filter needs.
    def line(size: int) -> Tensor:
        return (torch.arange(2 * (size + 2 * _REACH)) + 0.5) / 2 - _REACH - size / 2

    x, y = line(width), line(height)
    target = torch.stack([x[None, :].expand(len(y), -1), y[:, None].expand(-1, len(x)), torch.ones(len(y), len(x))], -1)
    centre = torch.tensor([_FILTER_SHIFT, _FILTER_SHIFT, 0.0])
    source = torch.einsum("nij,hwj->nhwi", inverse[:, :2], target + centre) - centre[:2]  # [N, 2H', 2W', 2]
    offset = torch.tensor([width / 2 + left, height / 2 + top])
    extent = torch.tensor([width + left + right, height + top + bottom])
    grid = ((source + offset) * (2 / extent) - 1).to(images)
    sampled = F.grid_sample(doubled, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    keep = (_REACH - 1) - 2 * _REACH
    return upfirdn2d(sampled, LOW_PASS[::-1], down=2, pad=(keep, keep))


def apply_color(images: Tensor, color: Tensor) -> Tensor:
    """Apply `color` [N, 4, 4] to images [N, 1 or 3, H, W]; a single channel takes the mean of the three rows."""
    if bool((color == torch.eye(4)).all()):
        return images
    matrix = color.to(images)
    if images.shape[1] == 1:
        gain = matrix[:, :3, :3].sum(dim=2).mean(dim=1)
        return images * gain[:, None, None, None] + matrix[:, :3, 3].mean(dim=1)[:, None, None, None]
    n, _, height, width = images.shape
    flat = torch.baddbmm(matrix[:, :3, 3:], matrix[:, :3, :3], images.reshape(n, 3, height * width))
    return flat.reshape(n, 3, height, width)


class AdaController:
    """Adapts p so that the mean sign of D on training images stays at the target (Karras et al. 2020a, Sec. 3.3)."""

    def __init__(self, config: AugmentConfig, *, batch: int, max_p: float | None) -> None:
        self._config, self._batch, self._max_p = config, batch, max_p
        self.p = 0.0 if config.mode == "none" else config.initial_p
        self._sum, self._count = 0.0, 0

    def observe(self, mean_sign: float, iteration: int) -> None:
        """Note the mean sign of D on the training images of an iteration; p moves every `interval` iterations."""
        if self._config.mode != "ada":
            return
        self._sum += mean_sign
        self._count += 1
        if (iteration + 1) % self._config.interval:
            return
        overfitting = self._sum / self._count
        step = self._batch * self._config.interval / (self._config.ada_kimg * 1000)
        direction = int(overfitting > self._config.target) - int(overfitting < self._config.target)
        self.p = max(0.0, self.p + direction * step)
        if self._max_p is not None:
            self.p = min(self.p, self._max_p)
        self._sum, self._count = 0.0, 0

    def state(self) -> dict[str, float]:
        """Return the numbers that a snapshot needs."""
        return {"p": self.p, "sum": self._sum, "count": float(self._count)}

    def load(self, state: dict[str, float]) -> None:
        """Set what `state` returned."""
        self.p, self._sum, self._count = state["p"], state["sum"], int(state["count"])


def _margins(inverse: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """Pixels to reflect on the left, right, top and bottom of the images of a batch, at most size - 1."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    corners = torch.tensor([[-cx, -cy, 1], [cx, -cy, 1], [cx, cy, 1], [-cx, cy, 1]])
    reached = torch.einsum("nij,kj->nki", inverse[:, :2], corners).reshape(-1, 2)
    low, high = reached.amin(dim=0), reached.amax(dim=0)

    def margin(beyond: Tensor, size: int) -> int:
        return int(min(max(math.ceil(float(beyond)) + _REACH, 0), size - 1))

    return (
        margin(-low[0] - cx, width), margin(high[0] - cx, width),
        margin(-low[1] - cy, height), margin(high[1] - cy, height),
    )  # fmt: skip


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def _rotation(angle: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=angle.dtype).repeat(len(angle), 1, 1)
    cos, sin = angle.cos(), angle.sin()
    matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 0], matrix[:, 1, 1] = cos, -sin, sin, cos
    return matrix


def _translation(offset: Tensor) -> Tensor:
    matrix = torch.eye(3, dtype=offset.dtype).repeat(len(offset), 1, 1)
    matrix[:, :2, 2] = offset
    return matrix


def _turn_about_grey(angle: Tensor) -> Tensor:
    """Rotation about (1, 1, 1) / sqrt(3), Rodrigues' formula; [N] -> [N, 3, 3]."""
    k = 1 / math.sqrt(3)
    cross = torch.tensor([[0, -k, k], [k, 0, -k], [-k, k, 0]], dtype=angle.dtype)
    eye = torch.eye(3, dtype=angle.dtype)
    sin, cos = angle.sin()[:, None, None], angle.cos()[:, None, None]
    return eye + sin * cross + (1 - cos) * (cross @ cross)


def _embedded(matrix: Tensor) -> Tensor:
    """[N, 3, 3] -> [N, 4, 4] with a unit last row and column."""
    out = torch.eye(4, dtype=matrix.dtype).repeat(len(matrix), 1, 1)
    out[:, :3, :3] = matrix
    return out
