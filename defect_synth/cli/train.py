"""`train`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defect_synth.cli.settings import Device, Preset, Resolution, Set, configure, log_to_terminal

if TYPE_CHECKING:
    from defect_synth.config import TrainConfig


def train(
    data: Annotated[Path, typer.Argument(help="A category's folder, a folder of categories, a CSV or a COCO JSON.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    category: Annotated[str | None, typer.Option(help="Which category of a folder of categories.")] = None,
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="dfmgan: from noise, hours. painter: on your own normal images, minutes. "
            "finetune, diffaug, cdc, sdgan, defect-gan: what the paper compares with."
        ),
    ] = "dfmgan",
    preset: Preset = None,
    resolution: Resolution = None,
    protocol: Annotated[
        str, typer.Option(help="corrected, or official: as the authors' program behaves.")
    ] = "corrected",
    safe_augment: Annotated[
        bool, typer.Option("--safe-augment", help="For parts whose orientation or colour matters.")
    ] = False,
    partition: Annotated[
        str | None, typer.Option(help="P1, P2 or P3: learn from a third of each defect, as in the paper. Default: all.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Time budget for this call.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Device = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="EfficientNet-Lite0 weights to choose snapshots with; default: none needed.")
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            "--max-memory",
            "--max-vram",
            metavar="GiB",
            help="Of the GPU, or of the process on a CPU: cuts batches into parts that should fit. Losses depend on "
            "the parts, so keep it when you resume.",
        ),
    ] = None,
    from_dfmgan: Annotated[
        Path | None, typer.Option("--from-dfmgan", help="painter only: a trained DFMGAN of the category to learn from.")
    ] = None,
    settings: Set = None,
) -> None:
    """Train a category: stage 1 on the good images, then one stage 2 per defect."""
    from defect_synth.engine.distributed import joined
    from defect_synth.errors import ConfigError

    if minutes is not None and minutes <= 0:
        raise ConfigError(f"minutes must be more than 0, got {minutes:g}")
    if method == "painter":
        from defect_synth.cli.train_painter import train_painter

        return train_painter(
            data, output, category=category, defects=defects, preset=preset, resolution=resolution,
            partition=partition, minutes=minutes, resume=resume, seed=seed, features=features, from_dfmgan=from_dfmgan,
            settings=settings,
        )  # fmt: skip
    if from_dfmgan is not None:
        raise ConfigError(f"--from-dfmgan teaches a painter, not {method}; add --method painter or leave it out")
    if method != "dfmgan":
        from defect_synth.cli.train_baseline import train_baseline

        return train_baseline(
            method, data, output, category=category, defects=defects, preset=preset, resolution=resolution,
            partition=partition, minutes=minutes, resume=resume, seed=seed, device=device, settings=settings,
        )  # fmt: skip
    extra = [] if precision is None else [f"precision={precision}"]
    with joined(device) as (team, own_device):
        config = configure(
            preset, resolution, extra + (settings or []),
            device=own_device, protocol=protocol, seed=seed, safe_augment=safe_augment,
        )  # fmt: skip
        if max_memory is not None:
            config = _within(config, max_memory, team.world)
        _train(data, output, category, defects, config, partition, minutes, resume, own_device, features, team.first)


def _within(config: TrainConfig, max_memory: float, processes: int) -> TrainConfig:
    """The largest micro-batches that fit, so that fewer parts do the same work."""
    from defect_synth.config import override
    from defect_synth.dfmgan.memory import fitting

    sizes = fitting(config, max_memory, processes)
    return override(config, {f"{stage}.micro_batch": size for stage, size in sizes.items()})


def _train(
    data: Path,
    output: Path,
    category: str | None,
    defects: str | None,
    config: TrainConfig,
    partition: str | None,
    minutes: float | None,
    resume: bool,
    device: str,
    features: Path | None,
    talk: bool,
) -> None:
    from defect_synth.cli.progress import bar
    from defect_synth.data.layouts import index
    from defect_synth.data.partitions import Partition, everything, split
    from defect_synth.dfmgan.synthesizer import choose_device
    from defect_synth.dfmgan.train import train_category
    from defect_synth.engine.loop import Progress
    from defect_synth.engine.run_folder import PARTITION_FILE
    from defect_synth.metrics.efficientnet import EfficientNetLite0

    log_to_terminal(talk)
    table = index(data, category)
    saved = output / PARTITION_FILE
    if resume and saved.exists():
        chosen = Partition.load(saved)
    elif partition is None:
        chosen = everything(table, config.validation_fraction, config.seed)
    else:
        chosen = split(table, partition, config.validation_fraction)
    names = None if defects is None else [name.strip() for name in defects.split(",")]
    if talk:
        print(f"{table.category}: {config.preset}, {config.model.backbone.resolution} px, partition {chosen.name}")
    with bar(table.category) if talk else nullcontext(_silent) as update:

        def report(progress: Progress) -> None:
            text = f"{progress.stage}: {progress.done_kimg:.2f}/{progress.total_kimg:.2f} kimg, {progress.text}"
            update(progress.done_kimg, progress.total_kimg, text)

        summary = train_category(
            table, chosen, config, output,
            defects=names, resume=resume, minutes=minutes, device=choose_device(device),
            features=None if features is None else EfficientNetLite0(features), report=report,
        )  # fmt: skip
    if not talk:
        return
    for name, ended in summary.stages.items():
        kimg = ended.iterations * (config.pretrain if name == "backbone" else config.transfer).batch / 1000
        best = (
            "last" if ended.best_score is None else f"best at {ended.best_kimg:.1f} kimg, score {ended.best_score:.3g}"
        )
        print(
            f"{name}: {kimg:.1f} kimg{'' if ended.complete else ' (budget ended)'}, kept {best}, {ended.seconds:.0f} s"
        )
    print(f"next: defect-synth generate {output} --count 100 --output synthetic")


def _silent(done: float, total: float, text: str) -> None:
    """The first process shows the progress of all."""
