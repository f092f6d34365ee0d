"""Figures that others published, quoted with their setting and never mixed with ours."""

from __future__ import annotations

import json
from importlib import resources
from typing import NamedTuple


class Published(NamedTuple):
    """One method's figures for one category.

    Attributes:
        publication: Where they were printed.
        table: Which of its tables.
        setting: How they were measured.
        measures: What each figure is.
        method: Whose they are.
        figures: As printed; None where the publication leaves one out.
    """

    publication: str
    table: str
    setting: str
    measures: tuple[str, ...]
    method: str
    figures: tuple[float | None, ...]


def published(category: str, task: str) -> list[Published]:
    """All that is known for a category of MVTec AD.

    Args:
        category: Such as `hazelnut`.
        task: `classification`, `segmentation` or `generation`.
    """
    found = []
    folder = resources.files("defect_synth.benchmark").joinpath("published")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".json"):
            continue
        content = json.loads(file.read_text(encoding="utf-8"))
        for table in content["tables"]:
            if table["task"] == task:
                found += [
                    Published(
                        content["publication"], table["name"], table["setting"], tuple(table["measures"]), method,
                        tuple(figures),
                    )
                    for method, figures in table["values"].get(category, {}).items()
                ]  # fmt: skip
    return found
