"""What is compared, how and for how long: settings read from a TOML file, the same on every machine."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from defect_synth.benchmark.arms import ARMS, PERLIN, SYSTEMS, Arm, choose_arms, require_among
from defect_synth.benchmark.downstream.classifier import ClassifyConfig
from defect_synth.benchmark.downstream.linear_probe import ProbeConfig
from defect_synth.benchmark.downstream.pixel_head import HeadConfig
from defect_synth.benchmark.downstream.segmenter import SegmentConfig
from defect_synth.benchmark.quality_networks import QualityConfig
from defect_synth.config import Frozen, PlainValues, Text, override, validated
from defect_synth.dfmgan.config import PRESETS, TrainConfig
from defect_synth.errors import ConfigError, DataError
from defect_synth.files import MIB, read_text
from defect_synth.painter.config import PAINTER_PRESETS, PainterConfig

MOST_IMAGES = 100_000
MOST_MINUTES = 525_600.0
"""Minutes of a year."""
_SECTIONS = ("generator", "systems", "classifier", "probe", "segmentation", "threshold", "quality", "product")
BUILT_IN = ("quick", "full", "paper")


class EmbeddedProduct(Frozen):
    """How many images of the embedded product are drawn, if no data is given."""

    good: int = Field(default=120, ge=1, le=MOST_IMAGES, description="Good training images.")
    test_good: int = Field(default=40, ge=0, le=MOST_IMAGES, description="Good test images.")
    per_defect: int = Field(
        default=90, ge=3, le=MOST_IMAGES, description="Images of each defect; a third of them are the base set."
    )


class ThresholdConfig(Frozen):
    """Anomaly thresholds set on generated defects."""

    per_defect: int = Field(
        default=30, ge=1, le=MOST_IMAGES, description="Generated images of each defect that set a threshold."
    )
    arms: tuple[str, ...] = Field(
        default=(
            "real + Crop&Paste",
            "real + careful paste",
            "real + DFMGAN",
            "real + painter",
            "real + Cutout",
            "real + CutPaste",
            "real + CutPaste scar",
            "real + Perlin",
        ),
        description="Arms whose generated images set a threshold; they must be among the benchmark's.",
    )


class BenchmarkProtocol(Frozen):
    """What one benchmark compares. The settings of a task, steps included, are the same for every arm."""

    name: Text
    about: Text = ""
    published: Text = Field(default="", description="The publication whose setting this is.")
    arms: tuple[str, ...] = Field(default=("all",), min_length=1, max_length=200)
    partitions: tuple[str, ...] = Field(default=("P1",), min_length=1, max_length=1000)
    seeds: int = Field(default=1, ge=1, le=100, description="Training seeds of each classifier.")
    shots: Annotated[int, Field(ge=1, le=10**6)] | Literal["all"] = Field(
        default="all", description="Base images of each defect."
    )
    validation_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the base set that models are chosen on."
    )
    with_good: bool = Field(default=False, description="Whether good images are a class of their own.")
    ratios: tuple[Annotated[float, Field(gt=0, le=1000)], ...] = Field(
        default=(1.0,),
        min_length=1,
        max_length=50,
        description="Generated images per real one in a batch; several: a sweep.",
    )
    per_defect: int = Field(
        default=1000, ge=1, le=MOST_IMAGES, description="Generated images of each defect; 1000 in the paper."
    )
    preset: str = Field(
        default="FAST_64", description="Preset of the generators; its resolution is the classifier's too."
    )
    generator: PlainValues = Field(default={}, description="Settings of the generators by their dotted names.")
    systems: dict[str, PlainValues] = Field(
        default={}, description="Settings of the other systems: method, then dotted names, as in `[systems.cdc]`."
    )
    minutes: float | None = Field(
        default=None, gt=0, le=MOST_MINUTES, description="Limit on the training time of each system in each partition."
    )
    painter_preset: str = Field(default="PAINT_128", description="Preset of the painters.")
    painter_minutes: float | None = Field(
        default=None,
        gt=0,
        le=MOST_MINUTES,
        description="Training time of each painter on two CPU cores; None: `minutes`, or the preset's.",
    )
    classifier: ClassifyConfig = ClassifyConfig()
    probe: ProbeConfig | None = None
    detection: HeadConfig | None = None
    segmentation: SegmentConfig | None = None
    threshold: ThresholdConfig | None = None
    quality: QualityConfig | None = None
    textures: Path | None = Field(
        default=None, description="Texture images for Perlin defects (DTD); None: procedural ones."
    )
    product: EmbeddedProduct = EmbeddedProduct()

    def chosen_arms(self) -> tuple[Arm, ...]:
        """The arms, in the order of the tables; every name in the protocol is checked.

        Raises:
            ConfigError: A name is unknown, or a section names what is not among the arms.
        """
        arms = choose_arms(self.arms)
        for section in ("segmentation", "threshold"):
            settings = getattr(self, section)
            if settings is not None and "arms" in settings.model_fields_set:
                require_among(settings.arms, arms, f"{section}.arms")
        trained = {SYSTEMS[arm.system]: arm.name for arm in ARMS.values() if arm.system in SYSTEMS}
        for method in self.systems:
            if method not in trained:
                raise ConfigError(f"systems: unknown method {method!r}; known: {', '.join(trained)}")
            require_among([trained[method]], arms, f"systems.{method}")
        if self.textures is not None:
            require_among([PERLIN], arms, "textures")
        return arms

    def ratios_of(self, arm: Arm) -> tuple[float, ...]:
        """The ratios that are tried with an arm: all of them, or one if the arm does not mix images."""
        return self.ratios if arm.mixes else self.ratios[:1]

    def train_config(self) -> TrainConfig:
        """Settings of the generators.

        Raises:
            ConfigError: An unknown preset or setting.
        """
        if self.preset not in PRESETS:
            raise ConfigError(f"unknown preset {self.preset!r}; known: {', '.join(PRESETS)}")
        return override(
            PRESETS[self.preset],
            {"validation_fraction": self.validation_fraction, **self.generator},
        )

    def painter_config(self) -> PainterConfig:
        """Settings of the painters.

        Raises:
            ConfigError: An unknown preset.
        """
        if self.painter_preset not in PAINTER_PRESETS:
            raise ConfigError(f"unknown painter_preset {self.painter_preset!r}; known: {', '.join(PAINTER_PRESETS)}")
        config, minutes = PAINTER_PRESETS[self.painter_preset], self.painter_minutes or self.minutes
        return config if minutes is None else config.for_minutes(minutes)


def load_protocol(name: str, changes: dict[str, Any] | None = None) -> BenchmarkProtocol:
    """A built-in protocol or a `.toml` file, with some fields replaced.

    If `changes` replaces the arms, sections of the file that name arms keep only those among them.

    Args:
        name: `quick`, `full`, `paper` or a path.
        changes: Dotted field name -> value, as in `{"classifier.steps": 80, "seeds": 2}`.

    Raises:
        ConfigError: There is no such protocol, it is not TOML, or a field or value is unknown or out of bounds.
    """
    try:
        values = tomllib.loads(_protocol_text(name))
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, and arrays in arrays
        raise ConfigError(f"the protocol {name} is not TOML: {str(error)[:120]}") from None
    for section, value in values.items():
        if section in _SECTIONS and not isinstance(value, dict):
            raise ConfigError(f"the protocol {name}: {section} must be a table [{section}]")
    values.setdefault("name", Path(name).stem)
    changes = changes or {}
    if "arms" in changes:
        _narrow(values, changes["arms"])
    for field, value in changes.items():
        *parents, last = field.split(".")
        node = values
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    protocol = validated(BenchmarkProtocol, values)
    for check in (protocol.chosen_arms, protocol.train_config, protocol.painter_config):
        check()
    return protocol


def _protocol_text(name: str) -> str:
    if name in BUILT_IN:
        return resources.files("defect_synth.benchmark").joinpath(f"protocols/{name}.toml").read_text("utf-8")
    path = Path(name)
    if not path.exists():
        raise ConfigError(f"no protocol {name!r}; known: {', '.join(BUILT_IN)}, or the path of a .toml file")
    try:
        return read_text(path, MIB)
    except DataError as error:
        raise ConfigError(f"cannot read the protocol {error}") from None


def _narrow(values: dict[str, Any], arms: Sequence[str]) -> None:
    """Drop arms and systems that are not among `arms` from sections of a file, but not unknown names."""
    if list(arms) == ["all"]:
        return
    dropped = [name for name in ARMS if name not in arms]
    for section in ("segmentation", "threshold"):
        named = values.get(section, {}).get("arms")
        if isinstance(named, list):
            values[section]["arms"] = [name for name in named if name not in dropped]
    for system, method in SYSTEMS.items():
        if all(arm.name in dropped for arm in ARMS.values() if arm.system == system):
            values.get("systems", {}).pop(method, None)
