"""`train --method painter`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from defect_synth.cli.settings import _parse, log_to_terminal


def train_painter(
    data: Path,
    output: Path,
    *,
    category: str | None,
    defects: str | None,
    preset: str | None,
    resolution: int | None,
    partition: str | None,
    minutes: float | None,
    resume: bool,
    seed: int,
    features: Path | None,
    from_dfmgan: Path | None,
    settings: list[str] | None,
) -> None:
    """Train a painter for all defects of a category; see `train` for the options."""
    from defect_synth.cli.progress import bar
    from defect_synth.data.layouts import index
    from defect_synth.data.partitions import Partition, everything, split
    from defect_synth.engine.loop import Progress
    from defect_synth.engine.run_folder import PARTITION_FILE
    from defect_synth.errors import ConfigError
    from defect_synth.painter.config import PAINTER_PRESETS, override
    from defect_synth.painter.train import train_painter

    log_to_terminal()
    if minutes is not None and minutes <= 0:
        raise ConfigError(f"minutes must be more than 0, got {minutes:g}")
    if preset is None:
        preset = "PAINT_256" if resolution is not None and resolution >= 256 else "PAINT_128"
    if preset not in PAINTER_PRESETS:
        raise ConfigError(f"unknown preset {preset!r} for --method painter; known: {', '.join(PAINTER_PRESETS)}")
    config = PAINTER_PRESETS[preset]
    changes: dict[str, Any] = {"seed": seed}
    if resolution is not None:
        changes["model.side"] = resolution
    config = override(config, changes | dict(_parse(item) for item in settings or []))
    config = config if minutes is None else config.for_minutes(minutes)
    table = index(data, category)
    saved = output / PARTITION_FILE
    if resume and saved.exists():
        chosen = Partition.load(saved)
    elif partition is None:
        chosen = everything(table, 0.0, seed)  # nothing is chosen by validation images: learn from all
    else:
        chosen = split(table, partition, 0.0)
    dfmgan = None
    if from_dfmgan is not None:
        from defect_synth.dfmgan.synthesizer import DEMO_DFMGAN, DefectSynthesizer

        shipped = str(from_dfmgan) == DEMO_DFMGAN
        dfmgan = DefectSynthesizer.load(DEMO_DFMGAN if shipped else from_dfmgan, device="cpu")
    names = None if defects is None else [name.strip() for name in defects.split(",")]
    judges = "no pretrained weights" if features is None else features.name
    taught = "" if from_dfmgan is None else f", taught by {from_dfmgan}"
    size = f"views of {config.model.side} px"
    print(f"{table.category}: {config.preset}, {size}, partition {chosen.name}, {judges}{taught}")
    with bar(table.category) as update:

        def report(progress: Progress) -> None:
            text = f"{progress.stage}: {progress.done_kimg:.2f}/{progress.total_kimg:.2f} kimg, {progress.text}"
            update(progress.done_kimg, progress.total_kimg, text)

        run = train_painter(
            table, chosen, config, output,
            defects=names, features=features, dfmgan=dfmgan, resume=resume, minutes=minutes, report=report,
        )  # fmt: skip
    for name, ended in run.stages.items():
        kimg = ended.iterations * (config.backbone if name == "backbone" else config.painter).batch / 1000
        print(f"{name}: {kimg:.2f} kimg{'' if ended.complete else ' (budget ended)'}, {ended.seconds:.0f} s")
    print(f"next: defect-synth generate {output} --count 100 --output synthetic")
