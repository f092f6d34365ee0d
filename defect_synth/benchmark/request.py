"""What the user asks for besides the protocol."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from defect_synth.config import Frozen, Name


class BenchmarkRequest(Frozen):
    """Which data to measure, where to write, and which generators to use.

    Attributes:
        categories: Object categories.
        data: Folder with their images; None: the embedded procedural product, drawn on the spot.
        run: Run folder whose generators are used, trained on the same partition; `{category}` and `{partition}` in the
            path are replaced by their names. None: generators are trained inside each partition.
        output: Folder for everything that is written.
        train: Train generators even where the package ships one.
        resume: Continue the benchmark in `output`.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
    """

    categories: tuple[Name, ...] = Field(min_length=1)
    data: Path | None = None
    run: Path | None = None
    output: Path = Path("runs/benchmark")
    train: bool = False
    resume: bool = False
    device: str = "auto"
