"""Options that several commands share, and how those of DFMGAN become a configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from defect_synth.dfmgan.config import TrainConfig

MOST_SAMPLES = 1_000_000  # of each defect
MOST_SEED = 2**31 - 1  # of a training or a measurement
LAST_SAMPLE = 2**62  # seed of a sample
MOST_MINUTES = 525_600.0  # a year
Resolution = Annotated[
    int | None,
    typer.Option(min=16, max=1024, help="Side of the images in pixels, a power of two from 32 to 1024."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting by its dotted name, such as pretrain.batch=8."),
]


def configure(
    preset: str | None,
    resolution: int | None,
    settings: list[str] | None,
    *,
    device: str,
    protocol: str = "corrected",
    seed: int = 0,
    safe_augment: bool = False,
) -> TrainConfig:
    """Build the configuration of a DFMGAN: preset, then resolution, protocol and augmentation, then single settings.

    Raises:
        ConfigError: An unknown name, or a value out of its bounds.
    """
    from defect_synth.config import override
    from defect_synth.dfmgan.config import PRESETS, PROTOCOLS, with_protocol
    from defect_synth.errors import ConfigError
    from defect_synth.nn.device import choose_device

    if preset is None:
        preset = "PAPER_256" if choose_device(device).type == "cuda" else "FAST_128"
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; known: {', '.join(PRESETS)}")
    config = PRESETS[preset]
    if protocol not in PROTOCOLS:
        raise ConfigError(f"unknown protocol {protocol!r}; known: {', '.join(PROTOCOLS)}")
    changes: dict[str, Any] = {"seed": seed}
    if resolution is not None:
        changes["model.backbone.resolution"] = resolution
        changes["model.residual.first_resolution"] = _power_of_two_below(min(64, max(8, resolution // 4)))
        for stage in ("pretrain", "transfer"):
            batch = getattr(config, stage).batch
            changes[f"{stage}.r1_gamma"] = 0.0002 * resolution**2 / batch
    if safe_augment:
        for stage in ("pretrain", "transfer"):
            changes[f"{stage}.augment"] = getattr(config, stage).augment.safe().model_dump()
    config = override(config, changes)
    config = with_protocol(config, protocol)
    return override(config, dict(parse_setting(item) for item in settings or []))


def _power_of_two_below(value: int) -> int:
    return 1 << (value.bit_length() - 1)


SOURCES = "demo, demo-dfmgan, demo-bank, or the path of a run, a checkpoint, a bank or a generated folder."
"""Help of every argument that `open.open_source` opens."""


def split_names(text: str | None) -> list[str] | None:
    """Comma-separated names as a list; None for an option that was not given.

    Raises:
        ConfigError: A name is empty, as in `hole,`.
    """
    from defect_synth.errors import ConfigError

    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ConfigError(f"expected names with a comma between them, such as crack,hole; got {text!r}")
    return names


def parse_setting(item: str) -> tuple[str, Any]:
    """`NAME=VALUE` as a name and a JSON value, or a text where the value is no JSON.

    Raises:
        ConfigError: There is no `=` or no name.
    """
    from defect_synth.config import shortened
    from defect_synth.errors import ConfigError

    name, found, text = item.partition("=")
    if not found or not name:
        raise ConfigError(f"--set expects NAME=VALUE, got {shortened(item)}")
    try:
        return name, json.loads(text)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or thousands of brackets
        return name, text
