"""Networks, inputs and losses of which every number follows from a formula, so that results can be stored and checked.

    python tests/parity/reference_values.py

computes them with the plain implementation (`benchmarks/reference_stylegan2.py`) in float64 and writes
`reference_values.npz`. Nothing in that file comes from anybody else's program.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from defect_synth.config import override
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.latents import Latents

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import reference_stylegan2 as reference

VALUES = Path(__file__).with_name("reference_values.npz")
BATCH, SIDE = 4, 32
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))

Networks = dict[str, nn.Module]


def formula(*shape: int, start: float) -> Tensor:
    """float64 values that look random and are not: sqrt(2) cos(start + (k + 1)^2 * golden angle), variance about 1."""
    k = torch.arange(math.prod(shape), dtype=torch.float64)
    return (math.sqrt(2) * torch.cos(start + (k + 1).square() * GOLDEN_ANGLE)).reshape(shape)


@contextmanager
def float64() -> Iterator[None]:
    """Everything in float64, also what the networks compute in float32 on purpose."""
    before, to_float = torch.get_default_dtype(), torch.Tensor.float
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.float = to_float  # type: ignore[method-assign]
        torch.set_default_dtype(before)


def networks() -> Networks:
    """TINY networks of both stages with weights by formula; nothing in them is zero."""
    built: Networks = {
        "backbone": Backbone(TINY.model.backbone),
        "generator": DFMGAN(TINY.model),
        "discriminator": build_discriminator(TINY.model),
        "match discriminator": build_match_discriminator(TINY.model),
    }
    with torch.no_grad():
        for start, network in enumerate(built.values()):
            for number, (name, tensor) in enumerate(network.state_dict().items()):
                if not tensor.is_floating_point():
                    continue
                values = formula(*tensor.shape, start=start + 0.37 * number)
                small = name.endswith(("bias", "noise_strength", "w_avg"))  # added to what they had
                tensor.copy_(tensor + 0.1 * values if small else values)
        built["generator"].backbone.load_state_dict(built["backbone"].state_dict())
    built["generator"].backbone.requires_grad_(False)
    for network in built.values():
        network.double()
        for module in network.modules():
            if hasattr(module, "compute_dtype"):
                module.compute_dtype = torch.float64  # type: ignore[assignment]
    built["generator"].mask_dtype = torch.float64  # type: ignore[assignment]
    return built


def latents(built: Networks, stage: int) -> Latents:
    """A batch with style mixing, and noise that differs between samples."""
    generator = built["generator"]
    z_dim, defect_dim = TINY.model.backbone.z_dim, TINY.model.backbone.z_dim
    noise = generator.backbone.noise_numel, generator.defect_noise_numel  # type: ignore[union-attr]
    second = stage == 2
    return Latents(
        z_object=formula(BATCH, z_dim, start=10), z_object_mix=formula(BATCH, z_dim, start=11), cut_object=3,
        z_defect=formula(BATCH, defect_dim, start=12) if second else None,
        z_defect_mix=formula(BATCH, defect_dim, start=13) if second else None, cut_defect=2 if second else None,
        noise_object=formula(BATCH, noise[0], start=14),
        noise_defect=formula(BATCH, noise[1], start=15) if second else None,
    )  # fmt: skip


def images() -> tuple[Tensor, Tensor]:
    """A batch that stands for real images, in [-1, 1], and their masks of -1 and 1."""
    return formula(BATCH, 3, SIDE, SIDE, start=20) / 2, formula(BATCH, 1, SIDE, SIDE, start=21).sign()


def _losses(nets: Networks, plain: bool) -> dict[str, tuple[str, Callable[[], Tensor]]]:
    """Phase -> which network it trains, and its loss."""
    backbone, generator = nets["backbone"], nets["generator"]
    d, match = nets["discriminator"], nets["match discriminator"]
    image, mask = images()
    mean, noise = torch.tensor(0.3), formula(BATCH, 3, SIDE, SIDE, start=22)
    settings = override(TINY.transfer, {"protocol.mask_leak": 0.0})  # tanh with its own gradient, as in the paper
    one, two = latents(nets, 1), latents(nets, 2)
    eq3 = reference.transfer_generator if plain else lambda *given: objectives.transfer_generator(*given).loss
    return {
        "stage 1": ("backbone", lambda: objectives.pretrain_generator(backbone, d, one).loss),
        "path length": (
            "backbone", lambda: objectives.path_length(backbone, one, noise, mean, 0.01, 2.0, 2).loss,
        ),
        "stage 2 (Eq. 3)": ("generator", lambda: eq3(generator, d, match, two, settings)),
        "D": ("discriminator", lambda: objectives.discriminator(generator, d, two, image).loss),
        "D_match": (
            "match discriminator",
            lambda: objectives.match_discriminator(generator, match, two, image, mask, 10.0).loss,
        ),
        "R1 of D": ("discriminator", lambda: objectives.r1(d, image, 1.0).loss),
        "R1 of D_match": ("match discriminator", lambda: objectives.r1(match, torch.cat([image, mask], 1), 1.0).loss),
    }  # fmt: skip


def compute(nets: Networks, plain: bool) -> dict[str, np.ndarray]:
    """Outputs, losses and gradients.

    Of a gradient two numbers for each parameter are kept: its norm, and its product with values by formula, which
    would notice elements that change places.
    """
    image, mask = images()
    codes = latents(nets, 2)
    generator = nets["generator"]
    values: dict[str, Tensor] = {}
    with torch.no_grad():
        rows, defect_rows = generator.backbone.rows(codes.z_object), generator.defect_rows(codes.z_defect)
        out = generator(rows, defect_rows, codes.noise_object, codes.noise_defect)
        values["image"], values["mask_logits"] = out.image[:2], out.mask_logits[:2]
        values["clean"] = generator(rows, None, codes.noise_object).image[:2]
        values["w_object"], values["w_defect"] = rows[:, 0], defect_rows[:, 0]
        values["discriminator"] = nets["discriminator"](image)
        values["match_discriminator"] = nets["match discriminator"](torch.cat([image, mask], 1))
    for phase, (trained, loss) in _losses(nets, plain).items():
        for name, network in nets.items():
            network.requires_grad_(name == trained)
        generator.backbone.requires_grad_(False)
        parameters = [p for p in nets[trained].parameters() if p.requires_grad]
        result = loss()
        gradients = torch.autograd.grad(result, parameters, allow_unused=True)
        values[f"{phase}, loss"] = result.detach()
        summary = []
        for number, (parameter, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            g = torch.zeros_like(parameter) if gradient is None else gradient
            summary.append([float(g.norm()), float((g * formula(*g.shape, start=number)).sum())])
        values[f"{phase}, gradients"] = torch.tensor(summary)
    return {name: value.detach().numpy() for name, value in values.items()}


if __name__ == "__main__":
    with float64():
        plain_networks = {name: reference.reference_of(network) for name, network in networks().items()}
        plain_networks["generator"].mask_dtype = torch.float64
        np.savez_compressed(VALUES, **compute(plain_networks, plain=True))
    print(VALUES, VALUES.stat().st_size, "bytes")
