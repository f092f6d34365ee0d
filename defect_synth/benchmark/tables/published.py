"""Figures published by others, quoted with their setting and never mixed with ours."""

from __future__ import annotations

import json
from importlib import resources
from typing import NamedTuple


class PublishedFigures(NamedTuple):
    """Published figures of one method for one category.

    Attributes:
        publication: The publication.
        table: Name of its table.
        setting: How the figures were measured.
        measures: Name of each figure.
        method: Name of the method.
        figures: The figures as printed; None where the publication leaves one out.
    """

    publication: str
    table: str
    setting: str
    measures: tuple[str, ...]
    method: str
    figures: tuple[float | None, ...]


def published(category: str, task: str) -> list[PublishedFigures]:
    """All published figures for a category of MVTec AD.

    Args:
        category: Object category, such as `hazelnut`.
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
                    PublishedFigures(
                        content["publication"], table["name"], table["setting"], tuple(table["measures"]), method,
                        tuple(figures),
                    )
                    for method, figures in table["values"].get(category, {}).items()
                ]  # fmt: skip
    return found
