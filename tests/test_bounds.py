"""Every number that may come from a file has bounds, and none may be NaN or infinite."""

from __future__ import annotations

import importlib
import math
import types
import typing
from pathlib import Path

import annotated_types
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from defect_synth.config import PlainValues

ROOT = Path(__file__).parents[1] / "defect_synth"
SHOWN = ("defect_synth.benchmark.results", "defect_synth.benchmark.task_results")
"""Results: what was measured is only printed and may be NaN, as the loss of a training that diverged."""
LOWER, UPPER = (annotated_types.Ge, annotated_types.Gt), (annotated_types.Le, annotated_types.Lt)


def models() -> list[type[BaseModel]]:
    """All pydantic models of the package."""
    for file in sorted(ROOT.rglob("*.py")):
        text = file.read_text("utf-8")
        if "(BaseModel)" in text or "(Frozen" in text or "pydantic" in text:
            importlib.import_module(".".join(file.relative_to(ROOT.parent).with_suffix("").parts))
    found: list[type[BaseModel]] = []
    waiting = [BaseModel]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            # Those with an underscore look at a part of what another one has checked; albumentations wants a schema of
            # names only, of arguments that `DefectAugmenter` checks.
            if kind.__name__ == "InitSchema":
                continue
            if kind.__module__.startswith("defect_synth.") and not kind.__name__.startswith("_") and kind not in found:
                found.append(kind)
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


def unbounded(annotation: object, metadata: tuple[object, ...], shown: bool) -> list[str]:
    """What in an annotation is a number without bounds, or holds anything at all."""
    if annotation is float and shown:
        return []
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        return unbounded(inner, (*metadata, *more), shown)
    flat = [item for entry in metadata for item in getattr(entry, "metadata", [entry])]
    if annotation in (int, float):
        missing = [
            name for name, kinds in (("lower", LOWER), ("upper", UPPER)) if not any(isinstance(m, kinds) for m in flat)
        ]
        return [f"{annotation.__name__} without a bound ({' and '.join(missing)})"] if missing else []
    plain = typing.get_args(PlainValues)[1]
    if plain in flat:
        return []
    if annotation in (typing.Any, object):
        return ["anything"]
    arguments = [part for part in typing.get_args(annotation) if part not in (Ellipsis, types.NoneType)]
    if typing.get_origin(annotation) is typing.Literal:
        return []
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return [problem for part in arguments for problem in unbounded(part, tuple(flat) if union else (), shown)]


@pytest.mark.parametrize("model", models(), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_every_number_of_a_model_has_bounds(model: type[BaseModel]) -> None:
    shown = model.__module__ in SHOWN
    assert shown or model.model_config.get("allow_inf_nan") is False
    problems = {
        name: found
        for name, field in model.model_fields.items()
        if name != "partitions_needed"  # an estimate without an end, written as "> 1000"
        and (found := unbounded(field.annotation, tuple(field.metadata), shown))
    }
    assert problems == {}


def test_models_were_found() -> None:
    names = {model.__name__ for model in models()}
    assert {"Card", "PainterCard", "DFMGANCard", "TranslationCard", "TrainingCard", "TrainConfig", "Partition"} <= names


@pytest.mark.parametrize(
    "values",
    [{"a": math.nan}, {"a": [1, math.inf]}, {"a": {"b": 10**400}}, {"a": [0] * 200_001}],
    ids=["NaN", "infinity", "10**400", "many"],
)
def test_plain_values_are_numbers_and_few(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(PlainValues).validate_python(values)


def test_plain_values_are_not_nested_deeply() -> None:
    values: dict[str, object] = {}
    for _ in range(10_000):
        values = {"a": values}
    with pytest.raises(ValidationError, match="nested more than"):
        TypeAdapter(PlainValues).validate_python(values)
