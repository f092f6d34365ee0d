"""Seconds of the same work by the obvious networks (`reference_stylegan2.py`) and by ours, side by side.

python benchmarks/speed.py [--rows TEXT,...] [--threads 2] [--repeats 2] [--quick] [--profile]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import reference_stylegan2 as reference
import torch
from torch import Tensor, nn

from defect_synth.config import FAST_64, PAPER_256, ModelConfig
from defect_synth.model.backbone import Backbone
from defect_synth.model.dfmgan import DFMGAN, Synthesis
from defect_synth.model.discriminators import build_discriminator, build_match_discriminator
from defect_synth.ops.memory import keep_memory
from defect_synth.training import objectives
from defect_synth.training.draws import Draws, draw_latents

try:
    from defect_synth.training import augment as ada
    from defect_synth.training.augment import NUM_UNIFORMS
except ImportError:
    NUM_UNIFORMS = 0

RESULTS = Path(__file__).parent / "results"
DEFECT_SHARE = (0.05, 0.10)  # of all pixels
CPU = torch.device("cpu")


@dataclass
class Step:
    """One piece of work and the share of it that one unit of a row needs (1 / interval for lazy phases)."""

    name: str
    run: Callable[[], object]
    share: float = 1.0


@dataclass
class Row:
    """The same steps twice: reference and ours."""

    name: str
    build: Callable[[], tuple[list[Step], list[Step]]]


def build_generator(config: ModelConfig) -> DFMGAN:
    """Untrained, but with noise, and with a mask bias that makes 5-10 % of the pixels defect, as in real data."""
    torch.manual_seed(0)
    generator = DFMGAN(config).eval()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.1)
        z = torch.randn(2, 8, config.backbone.z_dim, generator=torch.Generator().manual_seed(1))
        trunk = generator.trunk(generator.backbone.rows(z[0]))
        logits = generator.mask(trunk, generator.defect_rows(z[1]))
        generator.residual.to_mask.bias.sub_(torch.quantile(logits.flatten()[::7], 1 - sum(DEFECT_SHARE) / 2))
    return generator


def generation(clean: bool) -> tuple[list[Step], list[Step]]:
    """Batch 8 from z on; ours as `DefectSynthesizer` does it: sample by sample, one thread each, several at a time."""
    ours = build_generator(PAPER_256.model)
    theirs = reference.reference_of(ours)
    # The codes on which `build_generator` set the mask bias.
    z_object, z_defect = torch.randn(2, 8, PAPER_256.model.backbone.z_dim, generator=torch.Generator().manual_seed(1))

    def one(k: int) -> list[Synthesis]:
        with torch.no_grad():
            w_object = ours.backbone.rows(z_object[k : k + 1])
            trunk = ours.trunk(w_object)
            drawn = [ours.paint(trunk, w_object, ours.defect_rows(z_defect[k : k + 1]))]
            return [*drawn, ours.paint(trunk, w_object, None)] if clean else drawn

    def fast() -> list[list[Synthesis]]:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(one, range(8)))
        finally:
            torch.set_num_threads(threads)

    share = float((torch.cat([drawn[0].mask_logits for drawn in fast()]) >= 0).float().mean())
    print(f"  defect pixels: {share:.1%}")
    return (
        [Step("generate", lambda: reference.synthesize(theirs, z_object, z_defect, clean=clean))],
        [Step("generate", fast)],
    )


def iteration(stage: int) -> tuple[list[Step], list[Step]]:
    """Every phase of one training iteration with its Adam step and, where the package has it, ADA at p = 0.3."""
    config = FAST_64
    settings = config.pretrain if stage == 1 else config.transfer
    model = config.model
    torch.manual_seed(1)
    generator: nn.Module = Backbone(model.backbone) if stage == 1 else build_generator(model)
    nets = {"g": generator, "d": build_discriminator(model), "m": build_match_discriminator(model)}
    if isinstance(generator, DFMGAN):
        generator.backbone.requires_grad_(False)
    sides = []
    for is_reference in (True, False):
        chosen = {k: reference.reference_of(v) for k, v in nets.items()} if is_reference else nets
        sides.append(_phases(chosen, stage, settings, is_reference))
    return sides[0], sides[1]


def _phases(nets, stage, settings, is_reference) -> list[Step]:
    model, n, r = FAST_64.model, settings.batch, FAST_64.model.backbone.resolution
    g, d, m = nets["g"], nets["d"], nets["m"]
    backbone = g if stage == 1 else g.backbone
    codes = draw_latents(
        Draws(0, 0, 0, CPU), n, model, mixing_prob=1.0, noise=backbone.noise_numel,
        defect_noise=0 if stage == 1 else g.defect_noise_numel, second=False,
    )  # fmt: skip
    draws = Draws(1, 0, 0, CPU)
    real, mask = draws.normal(0, n, 3, r, r).clamp(-1, 1), draws.normal(1, n, 1, r, r).sign()
    noise, mean = draws.normal(2, n, 3, r, r), torch.zeros([])
    augment, augment_pair = _augmentation(settings, n, r)
    optimizers = {
        key: torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=1e-5, betas=(0.0, 0.99), eps=1e-8)
        for key, net in nets.items()
    }
    trainable = {key: [p for p in net.parameters() if p.requires_grad] for key, net in nets.items()}

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


def _augmentation(settings, n: int, r: int):
    """(augment, augment_pair) with one draw at p = 0.3, the same code on both sides."""
    if not NUM_UNIFORMS:
        return (lambda image: image), (lambda image, mask: (image, mask))
    drawn = ada.draw(settings.augment, 0.3, Draws(2, 0, 0, CPU).uniform(0, n, NUM_UNIFORMS), r)
    return (lambda image: ada.augment(image, drawn)), (lambda image, mask: ada.augment_pair(image, mask, drawn))


ROWS = [
    Row("generate image + mask, 256 (PAPER_256), batch 8", lambda: generation(False)),
    Row("generate image + mask + clean, 256 (PAPER_256), batch 8", lambda: generation(True)),
    Row("stage-1 iteration at 64 (FAST_64), batch 16", lambda: iteration(1)),
    Row("stage-2 iteration at 64 (FAST_64), batch 16", lambda: iteration(2)),
]


def seconds(step: Step) -> float:
    """Wall clock of one run."""
    start = time.perf_counter()
    step.run()
    return time.perf_counter() - start


def measure(row: Row, repeats: int) -> dict[str, object]:
    """Reference and ours in turn, so that whatever else the machine does meets both; medians per step."""
    theirs, ours = row.build()
    for step in (*theirs, *ours):
        step.run()  # warm up
    times: dict[tuple[str, str], list[float]] = {}
    for _ in range(repeats):
        for a, b in zip(theirs, ours, strict=True):
            times.setdefault(("reference", a.name), []).append(seconds(a))
            times.setdefault(("ours", b.name), []).append(seconds(b))
    steps = [
        {
            "step": s.name,
            "share": s.share,
            **{side: statistics.median(times[side, s.name]) for side in ("reference", "ours")},
        }
        for s in ours
    ]
    total = {side: sum(s[side] * s["share"] for s in steps) for side in ("reference", "ours")}
    return {"work": row.name, **total, "ratio": total["reference"] / total["ours"], "steps": steps}


def cpu_model() -> str:
    """As the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def table(rows: list[dict], about: dict) -> str:
    """Markdown: rows, then steps, then the circumstances."""
    lines = ["| work | reference s | ours s | ratio |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['work']} | {row['reference']:.2f} | {row['ours']:.2f} | {row['ratio']:.1f} |")
    lines += ["", "| step | reference s | ours s | ratio |", "|---|---|---|---|"]
    for row in rows:
        if len(row["steps"]) > 1:
            for s in row["steps"]:
                name = f"{row['work'].split(' at ')[0]}: {s['step']} (x {s['share']:g})"
                lines.append(f"| {name} | {s['reference']:.2f} | {s['ours']:.2f} | {s['reference'] / s['ours']:.1f} |")
    lines += ["", ", ".join(f"{key} {value}" for key, value in about.items())]
    return "\n".join(lines) + "\n"


def profile(row: Row) -> None:
    """Where our time goes, step by step."""
    _, ours = row.build()
    for step in ours:
        step.run()
        with torch.profiler.profile() as record:
            step.run()
        print(step.name)
        print(record.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=48))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="", help="comma-separated beginnings of row names; default: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one repetition; writes nothing")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="show our top costs instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_memory()
    wanted = [row for row in ROWS if any(row.name.startswith(text) for text in arguments.rows.split(","))]
    if arguments.profile:
        for row in wanted:
            profile(row)
        return
    repeats = 1 if arguments.quick else arguments.repeats
    about = {
        "torch": torch.__version__, "numpy": np.__version__, "CPU": cpu_model(), "threads": arguments.threads,
        "dtype": "float32", "repetitions": repeats, "augmentation": "ADA, p = 0.3" if NUM_UNIFORMS else "none",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }  # fmt: skip
    rows = [measure(row, repeats) for row in wanted]
    text = table(rows, about)
    print(text)
    if not arguments.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "speed.json").write_text(json.dumps({"about": about, "rows": rows}, indent=2) + "\n")
        (RESULTS / "speed.md").write_text(text)


if __name__ == "__main__":
    main()
