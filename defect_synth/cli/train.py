"""`train`."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defect_synth.cli.settings import MOST_MINUTES, MOST_SEED, Resolution, Set, split_names
from defect_synth.cli.terminal import log_to_terminal, say

if TYPE_CHECKING:
    from defect_synth.data.partitions import Partition
    from defect_synth.data.records import Table
    from defect_synth.engine.loop import Ended


MethodName = Annotated[
    str,
    typer.Option(
        "--method",
        help="painter: paints on your own normal images, minutes. dfmgan: images from noise, hours. "
        "finetune, diffaug, cdc, sdgan, defect-gan: what the paper compares with.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="painter: PAINT_128, PAINT_256 or PAINT_TINY. dfmgan: PAPER_256 (default on a GPU), FAST_128 (default "
        "on a CPU), FAST_64 or TINY. Others: fast or paper."
    ),
]
PartitionName = Annotated[
    str | None,
    typer.Option("--partition", help="P1, P2 or P3: learn from a third of each defect, as in the paper. Default: all."),
]
Protocol = Annotated[
    str | None, typer.Option(help="dfmgan: corrected (default), or official: as the authors' program behaves.")
]
SafeAugment = Annotated[
    bool, typer.Option("--safe-augment", help="dfmgan: for parts whose orientation or colour matters.")
]
TrainingDevice = Annotated[
    str | None,
    typer.Option("--device", help="auto (default), cpu, cuda, cuda:1 or mps; the painter trains on the CPU."),
]
Precision = Annotated[str | None, typer.Option(help="dfmgan: auto (default), float32, bfloat16 or float16.")]
Features = Annotated[
    Path | None,
    typer.Option(help="EfficientNet-Lite0 weights: for the painter's discriminators, or to choose DFMGAN's snapshots."),
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        "--max-memory",
        "--max-vram",
        metavar="GiB",
        min=0.01,
        max=1_000_000.0,
        help="dfmgan: of the GPU, or of the process on a CPU; cuts batches into parts that should fit. Losses depend "
        "on the parts, so keep it when you resume.",
    ),
]
FromDFMGAN = Annotated[
    str | None, typer.Option("--from-dfmgan", help="painter: a trained DFMGAN of the category to learn from.")
]
Pose = Annotated[
    str | None,
    typer.Option(
        "--pose",
        help="painter: how the products lie in the images: auto (default), aligned (all alike), any (each in a pose of "
        "its own) or none (poses mean nothing).",
    ),
]


def train(
    data: Annotated[Path, typer.Argument(help="A category's folder, a folder of categories, a CSV or a COCO JSON.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run folder.")],
    category: Annotated[str | None, typer.Option(help="Which category of a folder of categories.")] = None,
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    method: MethodName = "painter",
    preset: Preset = None,
    resolution: Resolution = None,
    partition: PartitionName = None,
    minutes: Annotated[float | None, typer.Option(min=0.0, max=MOST_MINUTES, help="Time budget for this call.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --output.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of everything random.")] = 0,
    protocol: Protocol = None,
    safe_augment: SafeAugment = False,
    device: TrainingDevice = None,
    precision: Precision = None,
    features: Features = None,
    max_memory: MaxMemory = None,
    from_dfmgan: FromDFMGAN = None,
    pose: Pose = None,
    settings: Set = None,
) -> None:
    """Train a generator of a category's defects; the help of an option says which methods use it."""
    from torch import get_num_threads

    from defect_synth.cli.methods import MethodOptions, plan
    from defect_synth.engine.distributed import joined
    from defect_synth.errors import ConfigError
    from defect_synth.nn.device import choose_device

    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes must be more than 0, got {minutes:g}")
    options = MethodOptions(
        preset=preset, resolution=resolution, set=None if settings is None else tuple(settings), device=device,
        precision=precision, protocol=protocol, safe_augment=safe_augment or None, features=features,
        max_memory=max_memory, from_dfmgan=from_dfmgan, pose=pose,
    )  # fmt: skip
    names = split_names(defects)
    with joined(device or "auto") as (team, own_device):
        log_to_terminal(logging.INFO if team.first else logging.ERROR)
        chosen_device = choose_device(own_device)
        planned = plan(method, options, seed, minutes, team.world)
        resumed = output if resume else None
        table, chosen = _images(data, category, partition, resumed, planned.validation_fraction, seed)
        if team.first:
            say(f"{table.category}: {planned.description}, partition {chosen.name}, threads: {get_num_threads()}")
        from defect_synth.cli.progress import bar
        from defect_synth.engine.loop import Progress
        from defect_synth.engine.runner import TrainingRequest
        from defect_synth.engine.runner import train as run_training

        with bar(table.category) if team.first else nullcontext(_silent) as update:

            def report(progress: Progress) -> None:
                text = f"{progress.stage}: {progress.done_kimg:.2f}/{progress.total_kimg:.2f} kimg, {progress.text}"
                update(progress.done_kimg, progress.total_kimg, text)

            ended = run_training(
                planned.method,
                TrainingRequest(table, chosen, output, names, chosen_device, resume, minutes, report),
            )
    if team.first:
        _tell(ended, output)


def _images(
    data: Path, category: str | None, partition: str | None, resumed: Path | None, validation: float, seed: int
) -> tuple[Table, Partition]:
    """The category's images, and which of them are learnt from: as before in a resumed run."""
    from defect_synth.data.layouts import index
    from defect_synth.data.partitions import Partition, everything, split
    from defect_synth.engine.run_folder import PARTITION_FILE
    from defect_synth.errors import ConfigError

    table = index(data, category)
    if resumed is not None and (resumed / PARTITION_FILE).exists():
        begun = Partition.load(resumed / PARTITION_FILE)
        if partition not in (None, begun.name):
            raise ConfigError(
                f"{resumed} was started with partition {begun.name}, now {partition}; leave --partition out, or use "
                "another --output"
            )
        return table, begun
    if partition is None:
        return table, everything(table, validation, seed)
    return table, split(table, partition, validation)


def _tell(ended: dict[str, Ended], output: Path) -> None:
    for name, step in ended.items():
        chosen = "" if step.best_score is None else f", best at {step.best_kimg:.2f} kimg (score {step.best_score:.3g})"
        cut = "" if step.complete else " (the time budget ended)"
        say(f"{name}: {step.kimg:.2f} kimg{cut}{chosen}, {step.seconds:.0f} s")
    say(f"next: defect-synth generate {output} --count 100 --output synthetic")


def _silent(done: float, total: float, text: str) -> None:
    """The first process shows the progress of all."""
