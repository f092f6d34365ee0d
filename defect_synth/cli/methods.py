"""The methods of `train`: which options each takes, and how the options become its settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defect_synth.baselines import SYSTEMS
from defect_synth.cli.settings import configure, parse_setting
from defect_synth.errors import ConfigError

if TYPE_CHECKING:
    from defect_synth.dfmgan.config import TrainConfig
    from defect_synth.engine.runner import Method

METHODS = ("painter", "dfmgan", *SYSTEMS)


@dataclass(frozen=True)
class MethodOptions:
    """Options of `train` that only some methods use; None: not given."""

    preset: str | None = None
    resolution: int | None = None
    set: tuple[str, ...] | None = None
    device: str | None = None
    precision: str | None = None
    protocol: str | None = None
    safe_augment: bool | None = None
    features: Path | None = None
    max_memory: float | None = None
    from_dfmgan: str | None = None
    pose: str | None = None

    def settings(self) -> dict[str, Any]:
        """`--set NAME=VALUE` as a dictionary."""
        return dict(parse_setting(item) for item in self.set or ())


@dataclass(frozen=True)
class Planned:
    """A method with its settings.

    Attributes:
        method: What `engine.runner.train` trains.
        description: For the first line of output, such as `FAST_128, 128 px`.
        validation_fraction: Share of the base images that is kept apart to choose snapshots; 0: all are learnt from.
    """

    method: Method
    description: str
    validation_fraction: float = 0.0


def plan(name: str, options: MethodOptions, seed: int, minutes: float | None, processes: int) -> Planned:
    """A method with the settings that the options ask for.

    Args:
        name: One of `METHODS`.
        options: As given on the command line.
        seed: Seed of everything random in training.
        minutes: Time budget; the painter chooses the length of its training by it.
        processes: How many processes share the training.

    Raises:
        ConfigError: An unknown method, an option that the method does not use, or a value out of its bounds.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    _require_used(name, options)
    if name == "dfmgan":
        return _dfmgan(options, seed, processes)
    if processes > 1:
        raise ConfigError(f"--method {name} trains in one process, but {processes} were started; only dfmgan shares")
    return _painter(options, seed, minutes) if name == "painter" else _baseline(name, options, seed)


def options_of(name: str) -> frozenset[str]:
    """Names of the `MethodOptions` that a method uses."""
    if name == "painter":
        from defect_synth.painter.train import PainterMethod

        return PainterMethod.options
    if name == "dfmgan":
        from defect_synth.dfmgan.train import DFMGANMethod

        return DFMGANMethod.options
    from defect_synth.baselines.train import BaselineMethod

    return BaselineMethod.options


def _require_used(name: str, options: MethodOptions) -> None:
    used = options_of(name)
    for field in fields(options):
        if getattr(options, field.name) is not None and field.name not in used:
            takers = [other for other in METHODS if field.name in options_of(other)]
            raise ConfigError(
                f"--{field.name.replace('_', '-')} has no effect on --method {name} "
                f"(it is for {', '.join(takers)}); leave it out"
            )


def _dfmgan(options: MethodOptions, seed: int, processes: int) -> Planned:
    from defect_synth.dfmgan.train import DFMGANMethod
    from defect_synth.metrics.efficientnet import EfficientNetLite0

    settings = list(options.set or ())
    if options.precision is not None:
        settings.insert(0, f"precision={options.precision}")
    config = configure(
        options.preset, options.resolution, settings, device=options.device or "auto",
        protocol=options.protocol or "corrected", seed=seed, safe_augment=bool(options.safe_augment),
    )  # fmt: skip
    if options.max_memory is not None:
        config = _within_memory(config, options.max_memory, processes)
    features = None if options.features is None else EfficientNetLite0(options.features)
    description = f"{config.preset}, {config.model.backbone.resolution} px"
    return Planned(DFMGANMethod(config, features), description, config.validation_fraction)


def _within_memory(config: TrainConfig, max_memory: float, processes: int) -> TrainConfig:
    """The largest micro-batches that fit, so that fewer parts do the same work."""
    from defect_synth.config import override
    from defect_synth.dfmgan.memory import largest_micro_batches

    sizes = largest_micro_batches(config, max_memory, processes)
    return override(config, {f"{stage}.micro_batch": size for stage, size in sizes.items()})


def _painter(options: MethodOptions, seed: int, minutes: float | None) -> Planned:
    from defect_synth.config import override
    from defect_synth.open import open_source
    from defect_synth.painter.config import PAINTER_PRESETS
    from defect_synth.painter.train import PainterMethod

    preset = options.preset or ("PAINT_256" if (options.resolution or 0) >= 256 else "PAINT_128")
    if preset not in PAINTER_PRESETS:
        raise ConfigError(f"unknown preset {preset!r} for --method painter; known: {', '.join(PAINTER_PRESETS)}")
    changes: dict[str, Any] = {"seed": seed}
    if options.resolution is not None:
        changes["model.side"] = options.resolution
    if options.pose is not None:
        changes["pose"] = options.pose
    config = override(PAINTER_PRESETS[preset], changes | options.settings())
    if minutes is not None:
        config = config.for_minutes(minutes)
    dfmgan = None if options.from_dfmgan is None else open_source(options.from_dfmgan, device="cpu")
    discriminator_features = "no pretrained weights" if options.features is None else options.features.name
    with_triplets = "" if options.from_dfmgan is None else f", with triplets of {options.from_dfmgan}"
    description = f"painter, {preset}, views of {config.model.side} px, {discriminator_features}{with_triplets}"
    return Planned(PainterMethod(config, options.features, dfmgan), description)


def _baseline(name: str, options: MethodOptions, seed: int) -> Planned:
    from defect_synth.baselines.train import BaselineMethod, settings_of

    system = settings_of(
        name, options.preset or "fast", resolution=options.resolution, seed=seed, changes=options.settings()
    )
    return Planned(BaselineMethod(system), f"{name}, {system.resolution} px")
