"""What the settings of every method share: frozen pydantic models, single changes by dotted name, one-line errors.

A configuration is a value: it is written beside every run and inside every checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from reprlib import Repr
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


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a name is listed twice")
    return names


Defects = Annotated[tuple[Name, ...], Field(max_length=1000), AfterValidator(_different)]
"""The defects of a checkpoint."""

PathInside = Annotated[str, AfterValidator(require_path_inside)]
"""A file in a record, relative to its folder. What leads elsewhere raises `InvalidNameError` as it is."""

Text = Annotated[str, Field(max_length=20_000), AfterValidator(printable)]
"""Text of a record that is only shown; what could steer a terminal or break a line is stored as an escape."""


Count = Annotated[int, Field(ge=0, le=10**9)]
"""How many of something there are."""

Kimg = Annotated[float, Field(ge=0, le=1e6)]
"""Thousands of images."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""

_DEEPEST, _MOST_VALUES, _LARGEST = 16, 200_000, 1e15


def _bounded(values: dict[str, Any]) -> dict[str, Any]:
    waiting: list[tuple[Any, int]] = [(values, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise ValueError(f"more than {_MOST_VALUES} values, or nested more than {_DEEPEST} deep")
        if isinstance(value, dict):
            waiting += ((item, depth + 1) for item in value.values())
        elif isinstance(value, list | tuple):
            waiting += ((item, depth + 1) for item in value)
        elif isinstance(value, int | float) and not abs(value) <= _LARGEST:  # also for NaN
            raise ValueError(f"a number that is none or too large: {shortened(value)}")
    return values


PlainValues = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""Values as JSON has them, which whoever uses them checks; none is NaN or infinite, and there are not too many."""


class Frozen(BaseModel):
    """Settings as a value: they cannot change, an unknown name is an error, and every number is one.

    `tests/test_bounds.py` checks that every number of every such model has bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StageConfig(Frozen):
    """Schedule of one training stage, which every method has; a method adds the settings that it uses."""

    total_kimg: float = Field(gt=0, le=1e6, description="Length in thousands of training images.")
    batch: int = Field(ge=2, le=65536, description="Images per iteration.")
    micro_batch: int | None = Field(
        None,
        ge=2,
        le=65536,
        description="Images per backward pass, the unit that processes share out; None: the whole batch.",
    )
    learning_rate: float = Field(gt=0, le=1, description="Step size of Adam.")
    ema_kimg: float = Field(ge=0, le=1e6, description="Half-life of the weight average in thousands of images.")
    ema_rampup: float | None = Field(
        None, ge=0, le=1e6, description="The half-life is at most this share of the images seen so far; None: no limit."
    )
    snapshot_kimg: float = Field(gt=0, le=1e6, description="Thousands of images between resumable snapshots.")

    @model_validator(mode="after")
    def _micro_batch_divides(self) -> Self:
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"micro_batch {self.micro_batch} does not divide batch {self.batch}")
        return self


_Model = TypeVar("_Model", bound=BaseModel)
_LONGEST_MESSAGE = 400  # characters of a part of it


class _Shortened(Repr):
    """Writes a value from a stranger: a few items, a few characters, and numbers that Python refuses to write."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"an integer of {x.bit_length()} bits"


_SHORTENED = _Shortened()


def shortened(value: object) -> str:
    """`repr(value)`, if that is short; otherwise enough of it to find the place in a file."""
    return printable(_SHORTENED.repr(value))


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
        shown = ""
        if isinstance(found, str | int | float | bool):
            text = shortened(found)
            shown = "" if "got " in first["msg"] else f", got {text}"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = printable(first["msg"].removeprefix("Value error, "))[:_LONGEST_MESSAGE]
        raise ConfigError(f"{printable(where)[:_LONGEST_MESSAGE]}: {message}{shown}{more}") from None


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
        return f"unknown setting {shortened(name)}; did you mean {' or '.join(near[:3])}?"
    return f"unknown setting {shortened(name)}; {above.rstrip('.') or 'the top level'} has {', '.join(node)}"


def _dotted(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """Every setting's dotted name, groups left out."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{above}{name}.")
        else:
            yield above + name
