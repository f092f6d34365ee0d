"""The numbers about a product in a painter's card, which anybody may have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from defect_synth.config import Frozen, Name, Share, validated
from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.product.symmetry import Turns

MOST_EXEMPLARS = 10_000
_Offset = Annotated[float, Field(ge=-100, le=100)]
_GreyLevel = Annotated[float, Field(ge=-255, le=255)]


class SymmetryNumbers(Frozen):
    """The fields of `Symmetry`."""

    turns: Turns = "none"
    mirror_x: bool = False
    mirror_y: bool = False
    aligned: bool = True


class ShapeNumbers(Frozen):
    """The fields of a `DefectShape` besides its mask; what else there is, its reader checks."""

    model_config = ConfigDict(extra="allow")

    offset: tuple[_Offset, _Offset]
    radius: float = Field(ge=0.5, le=100_000)
    inside: Share
    margin: Share = 0.0


class ProductNumbers(Frozen):
    """What `pack_product_assets` puts into a card; what else there is, its reader checks.

    Attributes:
        symmetry: How the product may be moved.
        donor_scales: Defect category -> scale of each of its exemplars.
        shapes: Defect category -> its masks.
        statistics: Defect category -> `colour_statistics` of each of its exemplars.
    """

    model_config = ConfigDict(extra="allow")

    symmetry: SymmetryNumbers
    donor_scales: dict[Name, Annotated[tuple[Annotated[float, Field(ge=1e-3, le=1000)], ...], Field(min_length=1, max_length=MOST_EXEMPLARS)]]
    shapes: dict[Name, Annotated[tuple[ShapeNumbers, ...], Field(min_length=1, max_length=MOST_EXEMPLARS)]]
    statistics: dict[Name, Annotated[tuple[tuple[_GreyLevel, _GreyLevel, _GreyLevel, _GreyLevel, _GreyLevel], ...], Field(min_length=1, max_length=MOST_EXEMPLARS)]]


def require_product(product: Mapping[str, Any], defects: Sequence[str]) -> None:
    """Check the numbers about a product.

    Raises:
        CheckpointError: Names the field, what was found and the bound; or a defect is not in it.
    """
    try:
        numbers = validated(ProductNumbers, dict(product))
    except ConfigError as error:
        raise CheckpointError(f"what the painter knows of its product is damaged: {error}; train it again") from None
    for defect in defects:
        parts = numbers.donor_scales.get(defect), numbers.shapes.get(defect), numbers.statistics.get(defect)
        if None in parts or len(parts[0] or ()) != len(parts[2] or ()):
            raise CheckpointError(f"what the painter knows of its product lacks exemplars of {defect}; train it again")
