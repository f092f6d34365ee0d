"""What the settings of every method share: frozen pydantic models, single changes by dotted name, one-line errors.

A configuration is a value: it is written beside every run and inside every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from defect_synth.errors import ConfigError
from defect_synth.names import printable, require_name, require_path_inside

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def _power_of_two(value: int) -> int:
    if value < 1 or value & (value - 1):
        raise ValueError(f"must be a power of two, got {value}")
    return value


PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]


Name = Annotated[str, AfterValidator(require_name)]
"""A category or a defect in a card, a row or a record. What cannot be one raises `InvalidNameError` as it is."""

PathInside = Annotated[str, AfterValidator(require_path_inside)]
"""A file in a record, relative to its folder. What leads elsewhere raises `InvalidNameError` as it is."""

Text = Annotated[str, Field(max_length=20_000), AfterValidator(printable)]
"""Text of a record that is only shown; what could steer a terminal or break a line is stored as an escape."""


class Frozen(BaseModel):
    """Settings as a value: they cannot change, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageConfig(Frozen):
    """Schedule of one training stage, which every method has; a method adds the settings that it uses."""

    total_kimg: float = Field(gt=0, description="Length in thousands of training images.")
    batch: int = Field(ge=2, description="Images per iteration.")
    micro_batch: int | None = Field(
        None, ge=2, description="Images per backward pass, the unit that processes share out; None: the whole batch."
    )
    learning_rate: float = Field(gt=0, le=1, description="Step size of Adam.")
    ema_kimg: float = Field(ge=0, description="Half-life of the weight average in thousands of images.")
    ema_rampup: float | None = Field(
        None, ge=0, description="The half-life is at most this share of the images seen so far; None: no limit."
    )
    snapshot_kimg: float = Field(gt=0, description="Thousands of images between resumable snapshots.")

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> Self:
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self


_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], values: Any) -> _Model:
    """`model.model_validate(values)` with one readable line instead of pydantic's report.

    Raises:
        ConfigError: Names the field, the value and the bound.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or model.__name__
        found = first.get("input")
        shown = (
            f", got {found!r}"
            if isinstance(found, str | int | float | bool) and repr(found) not in first["msg"]
            else ""
        )
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}{shown}{more}") from None


def override(config: _Model, settings: dict[str, Any]) -> _Model:
    """A copy of `config` with dotted fields replaced, checked again as a whole.

    Args:
        config: What to start from, usually a preset; any frozen settings.
        settings: Dotted field name -> value, as in `{"pretrain.batch": 8, "model.backbone.resolution": 64}`.

    Raises:
        ConfigError: An unknown field, or a value out of its bounds.
    """
    values = config.model_dump()
    for name, value in settings.items():
        *path, last = name.split(".")
        node: Any = values
        for part in path:
            if not isinstance(node.get(part), dict):
                raise ConfigError(_unknown(name, values))
            node = node[part]
        if last not in node:
            raise ConfigError(_unknown(name, values))
        node[last] = value
    return validated(type(config), values)


def _unknown(name: str, values: dict[str, Any]) -> str:
    """What to say about a dotted name that does not exist: the nearest that do, or all beside it."""
    node, above = values, ""
    *path, last = name.split(".")
    for part in path:
        if not isinstance(node.get(part), dict):
            break
        node, above = node[part], f"{above}{part}."
    beside = [above + known for known in get_close_matches(last, node, n=1)]
    every = list(_dotted(values))
    near = (
        beside
        or [known for known in every if known.rpartition(".")[2] == last]
        or get_close_matches(name, every, n=2, cutoff=0.8)
    )
    if near:
        return f"unknown setting {name!r}; did you mean {' or '.join(near[:3])}?"
    return f"unknown setting {name!r}; {above.rstrip('.') or 'the top level'} has {', '.join(node)}"


def _dotted(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """Every setting's dotted name, groups left out."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{above}{name}.")
        else:
            yield above + name
