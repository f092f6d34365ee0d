"""`bank`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defect_synth.cli.settings import LAST_SAMPLE, MOST_SAMPLES, SOURCES, Device, split_names
from defect_synth.cli.terminal import log_to_terminal, say

if TYPE_CHECKING:
    from defect_synth.compositor.quality_check import QualityLimits
    from defect_synth.samples import DefectSource

_FOR_POSES, _FOR_POSES_SIDE = 60, 512  # normal images from which it is learnt how parts lie, and their longer side


def bank(
    run: Annotated[
        str,
        typer.Argument(help=f"{SOURCES} With --real: your data."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    count: Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Entries of each defect.")] = 100,
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=LAST_SAMPLE, help="Seed of the first sample. Default: 0.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your real images: the quality checks take their limits from the defects that RUN was trained on."
        ),
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="RUN is a data folder: record its real defects.")] = False,
    resolution: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=8192,
            help="With --real: side in pixels of squares that all images are fitted to. Default: your images as they "
            "are, reduced together if the largest has more than a megapixel.",
        ),
    ] = None,
    category: Annotated[
        str | None, typer.Option(help="With --real or --data: which category of a folder of categories.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Record defects that pass the quality checks, to paste them on your own images."""
    from defect_synth.cli.progress import bar
    from defect_synth.compositor.bank import build_bank, require_buildable
    from defect_synth.compositor.real_source import RealSource
    from defect_synth.errors import ConfigError
    from defect_synth.open import open_source, path_of

    log_to_terminal(logging.INFO)
    for option, value in (("--resolution", resolution), ("--category", category)):
        if value is not None and not real and (option == "--resolution" or data is None):
            raise ConfigError(f"{option} is about real images, and none are given; add --real, or leave it out")
    for option, value in (("--seed", seed), ("--device", None if device in ("auto", "cpu") else device)):
        if real and value is not None:
            raise ConfigError(f"{option} has no effect on real images, which are read; leave it out")
    if real and data is not None:
        raise ConfigError("--real records your data as it is, so --data has nothing to be compared with; leave one out")
    require_buildable(output, count)
    source: DefectSource = RealSource.open(Path(run), category, resolution) if real else open_source(run, device=device)
    limits_by_defect = None if data is None else _limits(source, path_of(run), data, category)
    names = split_names(defects)
    try:
        with bar("bank") as update:
            made, report = build_bank(
                source, output, count=count, defects=names, limits=limits_by_defect, seed=seed or 0, progress=update
            )
    except KeyboardInterrupt:
        say(f"interrupted; no bank was written to {output}", error=True)
        raise typer.Exit(130) from None
    report.warn()
    limits = "" if real else f"; limits: {'general' if data is None else f'from {data}'}"
    say(f"{len(made)} entries in {output}; {report.summary()}{limits}")
    if len(report.defects) > 1:
        for name, own in sorted(report.defects.items()):
            say(f"  {name}: {own.summary()}")


def _limits(source: DefectSource, run: Path | None, data: Path, category: str | None) -> dict[str, QualityLimits]:
    """Limits from the real defects that the source may know; of a run with a partition, only those of its base set."""
    from defect_synth.compositor.quality_check import QualityLimits
    from defect_synth.compositor.real_source import RealSource
    from defect_synth.data.layouts import index
    from defect_synth.data.partitions import Partition
    from defect_synth.data.square import read_limited
    from defect_synth.engine.run_folder import PARTITION_FILE
    from defect_synth.errors import ConfigError, DataError
    from defect_synth.product.foreground import find_foreground
    from defect_synth.product.pose import learn_poses
    from defect_synth.samples import FiniteSource

    first = source.defects[0]
    seeds = source.seeds(first)[:1] if isinstance(source, FiniteSource) else (0,)
    sample = source.sample(first, seeds)[0]
    if sample.provenance.is_real:
        raise ConfigError("--data has nothing to be compared with: the source holds real defects; leave it out")
    table = index(data, category or (source.category if (data / source.category).is_dir() else None))
    if table.category != source.category:
        raise DataError(
            f"the source makes {source.category}, but {data} is {table.category}; check --data and --category"
        )
    height, width = sample.mask.shape
    side = height if height == width else None  # samples in the shape of real images are compared with those
    if run is not None and (run / PARTITION_FILE).is_file():
        partition = Partition.load(run / PARTITION_FILE)
        partition.require_match(table)
        known = RealSource.of_partition(table, partition, side)
        records = list(partition.records(table, "base", None))
    else:
        known = RealSource.open(data, category, side)
        records = [record for record in table.records if record.defect is None]
    spread = records[:: max(1, len(records) // _FOR_POSES)][:_FOR_POSES]
    normals = [read_limited(record, _FOR_POSES_SIDE)[0] for record in spread]
    poses = learn_poses([(image, find_foreground(image)) for image in normals])
    return {name: QualityLimits.from_real(known.sample(name, known.seeds(name)), poses) for name in known.defects}
