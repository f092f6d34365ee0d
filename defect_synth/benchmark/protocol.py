"""What is compared, how and for how long: a value read from TOML, the same for every machine."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from defect_synth.benchmark.quality import QualityConfig
from defect_synth.benchmark.tasks.classify import ClassifyConfig
from defect_synth.benchmark.tasks.probe import ProbeConfig
from defect_synth.benchmark.tasks.segment import SegmentConfig
from defect_synth.config import override, validated
from defect_synth.dfmgan.config import PRESETS, TrainConfig
from defect_synth.errors import ConfigError
from defect_synth.painter.config import PAINTER_PRESETS, PainterConfig

BUILT_IN = ("quick", "full", "paper")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Product(_Frozen):
    """How much of the embedded product is drawn, where no data is given."""

    good: int = Field(default=120, ge=1, description="Good training images.")
    test_good: int = Field(default=40, ge=0)
    per_defect: int = Field(default=90, ge=3, description="Images of each defect; a third of them is the base set.")


class ThresholdConfig(_Frozen):
    """Anomaly thresholds set on synthetic defects."""

    per_defect: int = Field(default=30, ge=1, description="Synthetic validation images of each defect.")
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
        description="Arms whose generated images set a threshold.",
    )


class Protocol(_Frozen):
    """One benchmark.

    The classifier's settings, steps included, are the same for every arm.
    """

    name: str
    about: str = ""
    published: str = Field(default="", description="The publication whose setting this is.")
    arms: tuple[str, ...] = Field(default=("all",), min_length=1)
    partitions: tuple[str, ...] = Field(default=("P1",), min_length=1)
    seeds: int = Field(default=1, ge=1, le=100, description="Training seeds of each classifier.")
    shots: int | Literal["all"] = Field(default="all", description="Base images of each defect.")
    validation_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="Share of the base set to choose models by."
    )
    with_good: bool = Field(default=False, description="Whether good images are a class of their own.")
    ratios: tuple[float, ...] = Field(
        default=(1.0,), min_length=1, description="Generated images per real one in a batch; several: a sweep."
    )
    per_defect: int = Field(default=1000, ge=1, description="Generated images of each defect; the paper's is 1000.")
    preset: str = Field(default="FAST_64", description="Of the generators; its resolution is the classifier's too.")
    generator: dict[str, Any] = Field(default={}, description="Settings of the generators by their dotted names.")
    systems: dict[str, dict[str, Any]] = Field(
        default={}, description="Settings of the other systems: method, then dotted names, as in `[systems.cdc]`."
    )
    minutes: float | None = Field(
        default=None, gt=0, description="Bound on the training of each system in each partition, the same for all."
    )
    painter_preset: str = Field(default="PAINT_128", description="Of the painters.")
    painter_minutes: float | None = Field(
        default=None,
        gt=0,
        description="What each painter's training is as long as, on two CPU cores; None: `minutes`, or the preset's.",
    )
    classifier: ClassifyConfig = ClassifyConfig()
    probe: ProbeConfig | None = None
    segmentation: SegmentConfig | None = None
    threshold: ThresholdConfig | None = None
    quality: QualityConfig | None = None
    textures: Path | None = Field(default=None, description="Images for Perlin defects (DTD); None: procedural ones.")
    product: Product = Product()

    def train_config(self, device: str) -> TrainConfig:
        """Configuration of the generators.

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
        """Configuration of the painters.

        Raises:
            ConfigError: An unknown preset.
        """
        if self.painter_preset not in PAINTER_PRESETS:
            raise ConfigError(f"unknown painter_preset {self.painter_preset!r}; known: {', '.join(PAINTER_PRESETS)}")
        config, minutes = PAINTER_PRESETS[self.painter_preset], self.painter_minutes or self.minutes
        return config if minutes is None else config.for_minutes(minutes)


def load_protocol(name: str, changes: dict[str, Any] | None = None) -> Protocol:
    """A built-in protocol or a `.toml` file, with some fields replaced.

    Args:
        name: `quick`, `full`, `paper` or a path.
        changes: Dotted field name -> value, as in `{"classifier.steps": 80, "seeds": 2}`.

    Raises:
        ConfigError: No such protocol, no TOML, an unknown field, or a value out of its bounds.
    """
    if name in BUILT_IN:
        text = resources.files("defect_synth.benchmark").joinpath(f"protocols/{name}.toml").read_text("utf-8")
    else:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no protocol {name!r}; known: {', '.join(BUILT_IN)}, or the path of a .toml file")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the protocol {path}: {error}") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the protocol {name} is no TOML: {error}") from None
    values.setdefault("name", Path(name).stem)
    for field, value in (changes or {}).items():
        *path_to, last = field.split(".")
        node = values
        for part in path_to:
            node = node.setdefault(part, {})
        node[last] = value
    return validated(Protocol, values)
