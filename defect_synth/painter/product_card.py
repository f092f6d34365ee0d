"""What a painter's card says of its product in numbers, and the sizes of its images: anybody may have written them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from defect_synth.config import Defects, Frozen, Name, PlainValues, Share, validated
from defect_synth.data.png import png_shape
from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.painter.config import PainterModelConfig
from defect_synth.product.symmetry import Turns

_KNOWLEDGE = "what the painter knows of its product"
_MOST_EXEMPLARS, _MOST_PIXELS = 10_000, 1 << 27
_Exemplars = Field(min_length=1, max_length=_MOST_EXEMPLARS)
_Offset = Annotated[float, Field(ge=-100, le=100)]
_GreyLevel = Annotated[float, Field(ge=-256, le=256)]
_Angle = Annotated[float, Field(ge=-100, le=100)]  # radians
_Scale = Annotated[float, Field(ge=1e-3, le=1000)]
_Score = Annotated[float, Field(ge=0, le=1e6)]

Reference = Annotated[int, Field(ge=16, le=100_000)]
"""The longer side of a typical training image, in pixels."""


class SymmetryNumbers(Frozen):
    """The fields of `Symmetry`."""

    turns: Turns = "none"
    mirror_x: bool = False
    mirror_y: bool = False
    aligned: bool = True


class ShapeNumbers(Frozen):
    """The fields of a `DefectShape` besides its mask; older painters lack the last four."""

    offset: tuple[_Offset, _Offset]
    radius: float = Field(ge=0.1, le=100_000)
    inside: Share
    margin: Share = 0.0
    overhang: float = Field(0.0, ge=0, le=100)
    movement: tuple[_Angle, bool] = (0.0, False)
    located: bool = True


class PoseNumbers(Frozen):
    """The fields of a `PoseFinder` besides its pictures."""

    reach: float = Field(gt=0, le=100)
    order: int = Field(ge=1, le=360)
    axis: _Angle | None
    turned_over: bool
    usual: float = Field(gt=0, le=1e6)
    gap: float = Field(ge=-1e6, le=1e6)


class ProductNumbers(Frozen):
    """What `pack_product_assets` puts into a card.

    Attributes:
        symmetry: How the product may be moved.
        donor_scales: Defect category -> scale of each of its exemplars.
        shapes: Defect category -> its masks.
        statistics: Defect category -> `colour_statistics` of each of its exemplars.
        poses: How poses are found; None: they are not.
    """

    symmetry: SymmetryNumbers
    donor_scales: dict[Name, Annotated[tuple[_Scale, ...], _Exemplars]]
    shapes: dict[Name, Annotated[tuple[ShapeNumbers, ...], _Exemplars]]
    statistics: dict[
        Name, Annotated[tuple[tuple[_GreyLevel, _GreyLevel, _GreyLevel, _GreyLevel, _GreyLevel], ...], _Exemplars]
    ]
    poses: PoseNumbers | None = None


class ExportedCard(Frozen):
    """What a painter without torch reads of a painter's card, which has more fields."""

    model_config = ConfigDict(extra="ignore")

    category: Name
    defects: Defects = Field(min_length=1)
    reference: Reference
    model: PainterModelConfig
    product: PlainValues


def require_product(
    product: Mapping[str, Any], defects: Sequence[str], images: Mapping[str, NDArray[np.uint8]], where: object
) -> None:
    """Check the numbers about a product, and that its images are as small as those that training stores.

    Args:
        product: From the card.
        defects: Defect categories that must be in it.
        images: PNG bytes by name.
        where: The file that holds them, for messages.

    Raises:
        CheckpointError: Names the field, what was found and the bound; or a defect is not in it.
    """
    try:
        numbers = validated(ProductNumbers, dict(product))
    except ConfigError as error:
        raise CheckpointError(f"{where}: {_KNOWLEDGE} is damaged: {error}; train it again") from None
    for defect in defects:
        scales, statistics = numbers.donor_scales.get(defect, ()), numbers.statistics.get(defect, ())
        if not scales or len(scales) != len(statistics) or defect not in numbers.shapes:
            raise CheckpointError(f"{where}: {_KNOWLEDGE} lacks exemplars of {defect}; train it again")
    pixels = sum(height * width for height, width in map(png_shape, map(bytes, images.values())))
    if pixels > _MOST_PIXELS:
        raise CheckpointError(
            f"{where}: its images have {pixels / 1e6:.0f} million pixels, at most {_MOST_PIXELS / 1e6:.0f} are "
            "read; train it with fewer kept_normals or a smaller longest_side"
        )
