"""Train each method for a few iterations at a tiny size and read its losses back as a text table.

    python tests/golden/training.py OUTPUT [METHOD ...]

writes one table for each method. `tests/test_golden_losses.py` compares them with those in `tests/golden/losses`.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SHORT = (
    "pretrain.total_kimg=0.048",
    "transfer.total_kimg=0.032",
    "pretrain.snapshot_kimg=0.032",
    "transfer.snapshot_kimg=0.032",
)
IMAGE_GAN = (
    *(f"config.{setting}" for setting in SHORT),
    "config.pretrain.batch=8",
    "config.transfer.batch=8",
    "config.model.backbone.channel_base=512",
    "config.model.backbone.channel_max=16",
    "config.model.discriminator.channel_base=512",
    "config.model.discriminator.channel_max=16",
)
TRANSLATION = ("stage.total_kimg=0.016", "stage.snapshot_kimg=0.016", "channels=4", "blocks=1")


def _settings(settings: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for setting in settings for part in ("--set", setting))


METHODS: dict[str, tuple[str, ...]] = {
    "dfmgan": ("--method", "dfmgan", "--preset", "TINY", *_settings(SHORT)),
    "dfmgan-official": ("--method", "dfmgan", "--preset", "TINY", "--protocol", "official", *_settings(SHORT)),
    "painter": ("--method", "painter", "--preset", "PAINT_TINY"),
    "finetune": ("--method", "finetune", "--resolution", "32", *_settings(IMAGE_GAN)),
    "diffaug": (
        "--method",
        "diffaug",
        "--resolution",
        "32",
        *_settings([setting for setting in IMAGE_GAN if "transfer" not in setting]),  # it has one stage
    ),
    "cdc": ("--method", "cdc", "--resolution", "32", *_settings(IMAGE_GAN)),
    "sdgan": ("--method", "sdgan", "--resolution", "32", *_settings(TRANSLATION)),
    "defect-gan": ("--method", "defect-gan", "--resolution", "32", *_settings(TRANSLATION)),
}
# Not losses: how far training is, counts of signs (a logit near zero flips one), and what depends on the clock.
NOT_LOSSES = {"iteration", "kimg", "seconds", "time", "ada_p", "fake_sign", "real_sign", "fake_match_sign",
              "real_match_sign", "mask_area", "images_per_second", "memory_gib"}  # fmt: skip

Row = dict[str, float]
Tables = dict[str, list[Row]]
Command = Callable[[Sequence[str]], None]


def write_data(folder: Path, command: Command) -> Path:
    """The procedural product that every table was made with; returns its category folder."""
    command(["demo-data", str(folder), "--resolution", "64", "--good", "12", "--per-defect", "6"])
    return folder / "hazelnut"


def train(method: str, data: Path, run: Path, command: Command) -> Tables:
    """Train `method` on two defects; returns its losses by stage, one row an iteration."""
    device = () if method == "painter" else ("--device", "cpu")  # the painter knows no other
    command(["train", str(data), "-o", str(run), "--defects", "crack,hole", "--seed", "3", *device, *METHODS[method]])
    return {path.parent.relative_to(run).as_posix(): list(_losses(path)) for path in sorted(run.rglob("stats.jsonl"))}


def _losses(path: Path) -> Iterator[Row]:
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        yield {"iteration": row["iteration"], **{name: row[name] for name in sorted(row.keys() - NOT_LOSSES)}}


def to_text(tables: Tables) -> str:
    """One block a stage: its name, the names of the losses, a line an iteration; `-` where a loss was not computed."""
    blocks = []
    for stage, rows in tables.items():
        names = ["iteration", *sorted({name for row in rows for name in row} - {"iteration"})]
        lines = [names, *([_number(row.get(name)) for name in names] for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
        text = ("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
        blocks.append("\n".join([f"# {stage}", *text]))
    return "\n\n".join(blocks) + "\n"


def from_text(text: str) -> Tables:
    """The tables that `to_text` wrote, losses to six significant digits."""
    tables: Tables = {}
    for block in text.strip().split("\n\n"):
        title, header, *lines = block.splitlines()
        names = header.split()
        tables[title.removeprefix("# ")] = [
            {name: float(cell) for name, cell in zip(names, line.split(), strict=True) if cell != "-"} for line in lines
        ]
    return tables


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if math.isfinite(value) else str(value)


def _subprocess(arguments: Sequence[str]) -> None:
    subprocess.run([sys.executable, "-m", "defect_synth", *arguments], check=True)


if __name__ == "__main__":
    output = Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        category = write_data(Path(folder) / "data", _subprocess)
        for name in sys.argv[2:] or METHODS:
            tables = train(name, category, Path(folder) / name, _subprocess)
            (output / f"{name}.txt").write_text(to_text(tables), "utf-8")
