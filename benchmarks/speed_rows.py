"""The pieces of work that `speed.py` times, and the process that does one side of one of them.

python benchmarks/speed_rows.py ROW reference|ours THREADS: writes a list of steps as a line of JSON, then for each
number it reads the seconds that step took, and at "end" its peak memory in GiB.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import reference_stylegan2 as reference
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from defect_synth.dfmgan import ada, objectives
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import FAST_64, PAPER_256, ModelConfig, TrainConfig
from defect_synth.dfmgan.config import AdversarialStageConfig as StageConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.latents import draw_latents
from defect_synth.dfmgan.region_painting import paint_pair
from defect_synth.engine.draws import Draws
from defect_synth.nn.memory import keep_memory
from defect_synth.nn.weight_cache import enable_weight_cache

DEFECT_SHARE = (0.05, 0.10)  # of all pixels
CPU = torch.device("cpu")
BATCHES = (4, 8, 16, 32)
COUNTS = (4, 8, 16)


@dataclass
class Step:
    """One piece of work, the share of it that a unit of the row needs (1 / interval for lazy phases), its GFLOP."""

    name: str
    run: Callable[[], object]
    share: float = 1.0
    gflop: float = 0.0


def build_generator(config: ModelConfig) -> DFMGAN:
    """Untrained, but with noise, and with a mask that is one blob of 5-10 % of the pixels, as real masks are."""
    torch.manual_seed(0)
    generator = DFMGAN(config).eval()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
        # ToMask sees the layer's noise map: with a bump in it, the mask is where the bump is.
        first = generator.residual.block(config.residual_resolutions[0])
        side = first.conv.resolution
        y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
        first.conv.noise_const.copy_(60 * torch.exp(-((y - 0.4) ** 2 + (x - 0.55) ** 2) / 0.02))
        generator.residual.to_mask.weight.abs_()
        z = torch.randn(2, 8, config.backbone.z_dim, generator=torch.Generator().manual_seed(1))
        trunk = generator.trunk(generator.backbone.rows(z[0]))
        logits = generator.mask(trunk, generator.defect_rows(z[1]))
        generator.residual.to_mask.bias.sub_(torch.quantile(logits.flatten()[::7], 1 - sum(DEFECT_SHARE) / 2))
    return generator


def generation(is_reference: bool, clean: bool, counts: tuple[int, ...] = (8,)) -> list[Step]:
    """From z on; ours as `DefectSynthesizer` does it: sample by sample, one thread each, several at a time."""
    generator = build_generator(PAPER_256.model)
    codes = torch.randn(2, 8, PAPER_256.model.backbone.z_dim, generator=torch.Generator().manual_seed(1))
    z_object, z_defect = codes.repeat(1, -(-max(counts) // 8), 1)
    if is_reference:
        network = reference.reference_of(generator)
        return [
            Step("generate", lambda n=n: reference.synthesize(network, z_object[:n], z_defect[:n], clean=clean))
            for n in counts
        ]

    enable_weight_cache(generator)  # as the synthesizer does

    def one(k: int) -> object:
        with torch.no_grad():
            w_object = generator.backbone.rows(z_object[k : k + 1])
            w_defect = generator.defect_rows(z_defect[k : k + 1])
            return paint_pair(generator, generator.trunk(w_object), w_object, w_defect)

    def fast(count: int) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                list(pool.map(one, range(count)))
        finally:
            torch.set_num_threads(threads)

    shapes = copy.deepcopy(generator).to("meta")
    gflop = _operations(lambda: reference.synthesize(shapes, *(z.to("meta")[:2] for z in codes), clean=clean)) / 2
    enable_weight_cache(generator)  # as the synthesizer does
    return [Step("generate", partial(fast, n), gflop=gflop * n) for n in counts]


def iteration(is_reference: bool, config: TrainConfig, stage: int, batch: int) -> list[Step]:
    """Every phase of one training iteration with its Adam step and ADA at p = 0.3."""
    settings = config.pretrain if stage == 1 else config.transfer
    torch.manual_seed(1)
    generator: nn.Module = Backbone(config.model.backbone) if stage == 1 else build_generator(config.model)
    nets = {"g": generator, "d": build_discriminator(config.model), "m": build_match_discriminator(config.model)}
    if isinstance(generator, DFMGAN):
        generator.backbone.requires_grad_(False)
    if is_reference:
        nets = {key: reference.reference_of(network) for key, network in nets.items()}
    return _phases(nets, stage, settings, config.model, batch, is_reference)


def _phases(nets: dict[str, nn.Module], stage: int, settings: StageConfig, model: ModelConfig, n: int,
            is_reference: bool) -> list[Step]:  # fmt: skip
    r = model.backbone.resolution
    g, d, m = nets["g"], nets["d"], nets["m"]
    backbone = g if stage == 1 else g.backbone
    codes = draw_latents(
        Draws(0, 0, 0, CPU), n, model, mixing_prob=1.0, noise=backbone.noise_numel,
        defect_noise=0 if stage == 1 else g.defect_noise_numel, second=False,
    )  # fmt: skip
    draws = Draws(1, 0, 0, CPU)
    real, mask = draws.normal(0, n, 3, r, r).clamp(-1, 1), draws.normal(1, n, 1, r, r).sign()
    noise, mean = draws.normal(2, n, 3, r, r), torch.zeros([])
    drawn = ada.draw(settings.augment, 0.3, Draws(2, 0, 0, CPU).uniform(0, n, ada.NUM_UNIFORMS), r)
    source = reference if is_reference else ada

    def augment(image: Tensor) -> Tensor:
        return source.augment(image, drawn)

    def augment_pair(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return source.augment_pair(image, mask, drawn)

    trainable = {key: [p for p in net.parameters() if p.requires_grad] for key, net in nets.items()}
    optimizers = {
        key: torch.optim.Adam(parameters, lr=1e-5, betas=(0.0, 0.99), eps=1e-8, fused=not is_reference)
        for key, parameters in trainable.items()
    }

    def step(key: str, loss: Callable[[], Tensor], gain: float) -> Callable[[], None]:
        def run() -> None:
            for other, parameters in trainable.items():
                for p in parameters:
                    p.requires_grad_(other == key)
            optimizers[key].zero_grad(set_to_none=True)
            (loss() * gain).backward()
            optimizers[key].step()

        return run

    def g_main() -> Tensor:
        if stage == 1:
            return objectives.pretrain_generator(g, d, codes, augment).loss
        arguments = g, d, m, codes, settings, augment, augment_pair
        if is_reference:
            return reference.transfer_generator(*arguments)
        return objectives.transfer_generator(*arguments).loss

    def g_reg() -> Tensor:
        return objectives.path_length(
            g, codes, noise, mean, settings.path_length_decay, settings.path_length_weight, settings.path_length_shrink
        ).loss

    def pair_r1() -> Tensor:
        pair = torch.cat([real, mask], dim=1)
        return objectives.r1(m, pair, settings.r1_gamma, lambda x: torch.cat(augment_pair(x[:, :3], x[:, 3:]), 1)).loss

    lazy_g, lazy_d = settings.path_length_interval, settings.r1_interval
    steps = [
        Step("G", step("g", g_main, 1)),
        Step("G path length", step("g", g_reg, lazy_g), 1 / lazy_g),
        Step("D", step("d", lambda: objectives.discriminator(g, d, codes, real, augment, augment).loss, 1)),
        Step("D R1", step("d", lambda: objectives.r1(d, real, settings.r1_gamma, augment).loss, lazy_d), 1 / lazy_d),
    ]
    if stage == 2:
        steps += [
            Step("D_match", step("m", lambda: objectives.match_discriminator(
                g, m, codes, real, mask, settings.tanh_gain, augment_pair, augment_pair).loss, 1)),
            Step("D_match R1", step("m", pair_r1, lazy_d), 1 / lazy_d),
        ]  # fmt: skip
    return steps


def augmentation(is_reference: bool) -> list[Step]:
    """16 images of 256x256, every transform drawn."""
    drawn = ada.draw(PAPER_256.pretrain.augment, 0.8, Draws(2, 0, 0, CPU).uniform(0, 16, ada.NUM_UNIFORMS), 256)
    images = Draws(1, 0, 0, CPU).normal(0, 16, 3, 256, 256).clamp(-1, 1)
    source = reference if is_reference else ada

    def run() -> None:
        leaf = images.clone().requires_grad_(True)
        source.augment(leaf, drawn).square().sum().backward()

    return [Step("ADA", run)]


def batches() -> list[Step]:
    """Our stage-1 generator step at several batch sizes."""
    return [iteration(False, FAST_64, 1, n)[0] for n in BATCHES]


def large_iteration() -> list[Step]:
    """The large phases of stage 2 at 256 in the micro-batches of 4 that a batch of 16 has; a second G after Adam's."""
    steps = {step.name: step for step in iteration(False, PAPER_256, 2, 4)}
    return [steps["G"], steps["G"], steps["G path length"], steps["D R1"]]


ROWS: dict[str, Callable[[bool], list[Step]]] = {
    "generate image + mask at 256 (PAPER_256), batch 8": lambda side: generation(side, False),
    "generate image + mask + clean at 256 (PAPER_256), batch 8": lambda side: generation(side, True),
    "stage-1 iteration at 64 (FAST_64), batch 16": lambda side: iteration(side, FAST_64, 1, 16),
    "stage-2 iteration at 64 (FAST_64), batch 16": lambda side: iteration(side, FAST_64, 2, 16),
    "stage-1 iteration at 256 (PAPER_256), batch 4": lambda side: iteration(side, PAPER_256, 1, 4),
    "stage-2 iteration at 256 (PAPER_256), batch 4": lambda side: iteration(side, PAPER_256, 2, 4),
    "ADA forward and backward at 256, batch 16": augmentation,
}
_OTHERS: dict[str, Callable[[], list[Step]]] = {
    "batch": batches,
    "count": lambda: generation(False, True, COUNTS),
    "memory": large_iteration,
}


def _operations(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def main() -> None:
    """Serve one side of one row."""
    row, side, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if side == "ours":
        keep_memory()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed must not mix with the answers
    steps = ROWS[row](side == "reference") if row in ROWS else _OTHERS[row]()
    print(json.dumps([{"name": s.name, "share": s.share, "gflop": s.gflop} for s in steps]), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() == "end":
            break
        start = time.perf_counter()
        steps[int(line)].run()
        print(time.perf_counter() - start, file=answers, flush=True)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, file=answers, flush=True)


if __name__ == "__main__":
    main()
