"""How the parts of a data set lie and in which images that is doubtful, as `defect-synth check` says it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, cast, get_args

import numpy as np
from numpy.typing import NDArray

from defect_synth.data.images import read_image
from defect_synth.data.masks import read_mask
from defect_synth.data.records import Record, Table
from defect_synth.data.square import limit_size
from defect_synth.errors import ConfigError, DataError
from defect_synth.product.arrangement import Arrangement, Lie, find_arrangement
from defect_synth.product.common_frame import CommonFrame
from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import product_frame
from defect_synth.product.pose import Part, PartPose, part_of_mask
from defect_synth.samples import Pixels

_MOST_NORMALS, _MOST_OF_DEFECT, _MOST_DEFECTS = 60, 24, 240  # images that are looked at
_SIDE = 384  # longer side of the copies that are looked at, in pixels
_COMPARED = 48  # longer side of the pictures that are compared with the mean part, in pixels
_UNLIKE, _DEVIATIONS = 0.1, 6.0  # how much less like the mean part than usual a doubtful part is, at least
_THREADS = 4


class LookedAt(NamedTuple):
    """An image that was looked at, reduced.

    Attributes:
        name: Of its record.
        image: uint8 [h, w, 3].
        mask: uint8 [h, w] in {0, 1}; empty for good images.
        foreground: bool [h, w].
        longest: Longer side of the image in its file, in pixels.
    """

    name: str
    image: Pixels
    mask: Pixels
    foreground: NDArray[np.bool_]
    longest: int


@dataclass(frozen=True, eq=False)
class CheckedPart:
    """A part in an image that was looked at.

    Attributes:
        seen: The image.
        part: The part and how it lies.
        number: Of the part in its image, from 1; 0: it is the only one.
        doubt: Why its pose is doubtful; empty: it is not.
    """

    seen: LookedAt
    part: Part
    number: int = 0
    doubt: str = ""

    @property
    def name(self) -> str:
        """Of the image, and which part of it."""
        return f"{self.seen.name} (part {self.number})" if self.number else self.seen.name


@dataclass(frozen=True, eq=False)
class ArrangementCheck:
    """What was found.

    Attributes:
        category: Object category.
        arrangement: How products lie.
        frame: What pictures of parts in their common frame show.
        normals: Parts in good images for training.
        defects: Defect -> the parts that its defects are on; empty if poses mean nothing and no page is drawn.
        available: Number of good images for training.
        left_out: Names of records that could not be used, because they have errors.
    """

    category: str
    arrangement: Arrangement
    frame: CommonFrame
    normals: tuple[CheckedPart, ...]
    defects: Mapping[str, tuple[CheckedPart, ...]]
    available: int
    left_out: tuple[str, ...]

    @property
    def is_placed(self) -> bool:
        """Whether a place on one part means the same on the others."""
        return self.arrangement.poses is not None or self.arrangement.symmetry.aligned

    @property
    def doubtful(self) -> tuple[CheckedPart, ...]:
        """Parts whose pose is doubtful, those in good images first."""
        return tuple(p for parts in (self.normals, *self.defects.values()) for p in parts if p.doubt)

    def format(self, limit: int = 20) -> str:
        """Text for a terminal, with at most `limit` doubtful images."""
        images = len({part.seen.name for part in self.normals})
        lines = [f"{self.arrangement.describe()} (from {images} of {self.available} good images)"]
        if self.is_placed:
            counts = [
                f"{name} {sum(not part.doubt for part in parts)} of {len(parts)}"
                for name, parts in (("good", self.normals), *self.defects.items())
                if parts
            ]
            said = "poses that are certain" if self.arrangement.poses is not None else "parts that lie like the others"
            lines.append(f"{said}: {', '.join(counts)}")
        doubtful = self.doubtful
        lines += [f"  doubtful  {part.name}: {part.doubt}" for part in doubtful[:limit]]
        if len(doubtful) > limit:
            lines.append(f"  ... and {len(doubtful) - limit} more that are doubtful")
        if self.left_out:
            lines.append(f"not looked at because of errors: {len(self.left_out)}")
        return "\n".join(lines)


def check_arrangement(table: Table, lie: str = "auto", *, for_page: bool = False) -> ArrangementCheck:
    """Find out how the parts of a category lie, and where that is doubtful.

    At most 60 good images and 24 of each defect are looked at, spread over all, in copies of at most 384 pixels.

    Args:
        table: All images of the category. Those with errors are left out.
        lie: One of `Lie`: what is known of how parts lie.
        for_page: Look at images of defects even if poses mean nothing.

    Raises:
        ConfigError: `lie` is no such word, or `any` although no pose can be found.
        DataError: No good image can be read.
    """
    if lie not in get_args(Lie):
        raise ConfigError(f"pose must be one of {', '.join(get_args(Lie))}, got {lie!r}")
    good, left_out = _look_at(_spread(table.good, _MOST_NORMALS))
    if not good:
        raise DataError(f"none of the good images in {table.root} can be read, so how parts lie cannot be found")
    arrangement = find_arrangement([(seen.image, seen.foreground) for seen in good], cast(Lie, lie))
    normals = [part for seen in good for part in _parts(arrangement, seen)]
    defects: dict[str, Sequence[CheckedPart]] = {}
    if for_page or arrangement.poses is not None or arrangement.symmetry.aligned:
        most = max(1, min(_MOST_OF_DEFECT, _MOST_DEFECTS // max(1, len(table.defects))))
        for defect in table.defects:
            found, unusable = _look_at(_spread(table.of(defect), most))
            marked = [seen for seen in found if seen.mask.any()]
            left_out += unusable + [seen.name for seen in found if not seen.mask.any()]
            defects[defect] = [_with_defect(_parts(arrangement, seen)) for seen in marked]
    reliable = [part.part for part in normals if part.part.pose.is_reliable] or [part.part for part in normals]
    frame = CommonFrame.around(reliable, upright=arrangement.poses is None)
    if arrangement.poses is not None or arrangement.symmetry.aligned:
        normals, defects = _doubted(normals, defects, frame)
    return ArrangementCheck(
        table.category, arrangement, frame, tuple(normals), {name: tuple(parts) for name, parts in defects.items()},
        len(table.good), tuple(left_out),
    )  # fmt: skip


def _spread(records: Sequence[Record], most: int) -> list[Record]:
    """At most `most` records, evenly spread."""
    return [records[i] for i in np.unique(np.linspace(0, len(records) - 1, min(most, len(records))).astype(int))]


def _look_at(records: Sequence[Record]) -> tuple[list[LookedAt], list[str]]:
    """The images that can be read, and the names of the others."""
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        found = list(pool.map(_read, records))
    unusable = [record.name for record, seen in zip(records, found, strict=True) if seen is None]
    return [seen for seen in found if seen is not None], unusable


def _read(record: Record) -> LookedAt | None:
    try:
        image = read_image(record.image)
        mask = read_mask(record, (image.shape[0], image.shape[1]))
    except DataError:  # `check` has said why
        return None
    longest = max(image.shape[:2])
    image, mask = limit_size(image, mask, _SIDE)
    return LookedAt(record.name, image, mask, find_foreground(image), longest)


def _parts(arrangement: Arrangement, seen: LookedAt) -> list[CheckedPart]:
    """The parts in an image, each as it lies."""
    if arrangement.poses is None:
        return [CheckedPart(seen, Part(PartPose(product_frame(seen.foreground)), seen.foreground))]
    parts = arrangement.poses.find_all(seen.image, seen.foreground)
    return [CheckedPart(seen, part, k if len(parts) > 1 else 0) for k, part in enumerate(parts, 1)]


def _with_defect(parts: Sequence[CheckedPart]) -> CheckedPart:
    """The part that has the defect."""
    chosen = part_of_mask([part.part for part in parts], parts[0].seen.mask)
    return next(part for part in parts if part.part is chosen)


def _doubted(
    normals: Sequence[CheckedPart], defects: Mapping[str, Sequence[CheckedPart]], frame: CommonFrame
) -> tuple[list[CheckedPart], dict[str, Sequence[CheckedPart]]]:
    """The same parts, each with the reason why its pose is doubtful."""
    picture = partial(_picture, frame)
    reliable = [part for part in normals if part.part.pose.is_reliable] or normals
    mean = np.median([picture(part) for part in reliable], axis=0)
    usual_whole = float(np.mean([part.part.foreground.all() for part in normals])) > 0.5
    known = np.array([_likeness(picture(part), mean, _visible(frame, part)) for part in normals])
    middle = float(np.median(known))
    least = middle - max(_UNLIKE, _DEVIATIONS * float(np.median(np.abs(known - middle))))

    def doubted(part: CheckedPart) -> CheckedPart:
        return _doubt(part, _likeness(picture(part), mean, _visible(frame, part)), least, usual_whole)

    return [doubted(part) for part in normals], {name: [doubted(p) for p in parts] for name, parts in defects.items()}


def _doubt(part: CheckedPart, likeness: float, least: float, usual_whole: bool) -> CheckedPart:
    pose = part.part.pose
    doubt = ""
    if part.part.foreground.all() and not usual_whole:
        doubt = "no part could be told from the background"
    elif not pose.is_reliable:
        doubt = f"its pose is uncertain (confidence {pose.confidence:.2f})"
    elif likeness < least:
        doubt = (
            f"unlike the mean part (correlation {likeness:.2f}, usual from {least:.2f}); turned, cut off or another?"
        )
    return replace(part, doubt=doubt)


def _picture(frame: CommonFrame, part: CheckedPart) -> NDArray[np.float32]:
    return frame.carry(part.seen.image, part.part.pose, _COMPARED).astype(np.float32)


def _visible(frame: CommonFrame, part: CheckedPart) -> NDArray[np.float32]:
    """Where a part has no defect, 0 to 1: [h, w, 1]."""
    covered = frame.carry(part.seen.mask * np.uint8(255), part.part.pose, _COMPARED, outside=0)
    return 1 - covered[:, :, None].astype(np.float32) / np.float32(255)


def _likeness(picture: NDArray[np.float32], mean: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    """Correlation of two pictures [h, w, 3], -1 to 1, where `weight` [h, w, 1] is not 0."""
    total = max(float(weight.sum()), 1e-6)
    a, b = (values - (values * weight).sum(axis=(0, 1)) / total for values in (picture, mean))
    energy = float((a * a * weight).sum()) * float((b * b * weight).sum())
    return float((a * b * weight).sum()) / max(float(np.sqrt(energy)), 1e-6)
