"""`train --method finetune|diffaug|cdc|sdgan|defect-gan`."""

from __future__ import annotations

from pathlib import Path

from defect_synth.cli.settings import _parse, log_to_terminal


def train_baseline(
    method: str,
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
    device: str,
    settings: list[str] | None,
) -> None:
    """Train a system that the paper compares with; see `train` for the options."""
    from defect_synth.baselines.fitting import settings_of, train_system
    from defect_synth.cli.progress import bar
    from defect_synth.data.layouts import index
    from defect_synth.data.partitions import Partition, everything, split
    from defect_synth.dfmgan.synthesizer import choose_device
    from defect_synth.engine.loop import Progress
    from defect_synth.engine.run_folder import PARTITION_FILE

    log_to_terminal()
    changes = dict(_parse(item) for item in settings or [])
    system = settings_of(method, preset or "fast", resolution=resolution, seed=seed, changes=changes)
    table = index(data, category)
    saved = output / PARTITION_FILE
    if resume and saved.exists():
        chosen = Partition.load(saved)
    elif partition is None:
        chosen = everything(table, 0.0, seed)  # nothing is chosen by validation images: learn from all
    else:
        chosen = split(table, partition, 0.0)
    names = None if defects is None else [name.strip() for name in defects.split(",")]
    print(f"{table.category}: {method}, {system.resolution} px, partition {chosen.name}")
    with bar(table.category) as update:

        def report(progress: Progress) -> None:
            text = f"{progress.stage}: {progress.done_kimg:.2f}/{progress.total_kimg:.2f} kimg, {progress.text}"
            update(progress.done_kimg, progress.total_kimg, text)

        ended = train_system(
            system, table, chosen, output,
            defects=names, resume=resume, minutes=minutes, device=choose_device(device), report=report,
        )  # fmt: skip
    for name, step in ended.items():
        print(f"{name}: {step.iterations} iterations{'' if step.complete else ' (budget ended)'}, {step.seconds:.0f} s")
    print(f"next: defect-synth generate {output} --count 100 --output synthetic")
