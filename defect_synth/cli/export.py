"""`export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    folder: Annotated[Path, typer.Argument(help="A folder that `defect-synth generate` or `bank` wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    form: Annotated[str, typer.Option("--format", help="mvtec, coco, yolo-seg, labelme or webdataset.")] = "coco",
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
) -> None:
    """Write generated defects in the format another tool reads."""
    from defect_synth.compositor.bank import INDEX as BANK
    from defect_synth.compositor.bank import Bank
    from defect_synth.data.generated import FolderSource
    from defect_synth.errors import UnknownDefectError
    from defect_synth.export import export as write

    source: FolderSource | Bank = Bank.open(folder) if (folder / BANK).is_file() else FolderSource(folder)
    chosen = source.defects if defects is None else tuple(name.strip() for name in defects.split(","))
    for name in chosen:
        if name not in source.defects:
            raise UnknownDefectError(name, source.category, source.defects)
    if isinstance(source, Bank):
        samples = (sample for sample in source.recorded_samples() if sample.defect in chosen)
    else:
        samples = (sample for name in chosen for seed in source.seeds(name) for sample in source.sample(name, [seed]))
    print(f"{write(output, samples, form)} samples in {output}")
