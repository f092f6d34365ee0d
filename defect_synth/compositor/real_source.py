"""The user's own defect images as a source, for banks of real defects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from defect_synth.data.images import read_image
from defect_synth.data.layouts import index
from defect_synth.data.masks import read_mask
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Record, Table
from defect_synth.data.square import fit_to_square, reduced
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.files import open_file
from defect_synth.samples import REAL, DefectSample, Pixels, Provenance, content_digest

LARGEST = 1024  # side of a square with the most pixels of an entry: a bank of 100 such defects takes 700 MB


class RealImage(NamedTuple):
    """A real defect image.

    Attributes:
        name: Name of the record.
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] in {0, 1}.
    """

    name: str
    image: Pixels
    mask: Pixels


class RealSource:
    """A `FiniteSource` of real defect images with masks; seeds number the images of each defect from 0.

    Args:
        category: Object category.
        images: Images of each defect, of any sizes.

    Raises:
        DataError: There are no defect images.
    """

    def __init__(self, category: str, images: Mapping[str, Sequence[RealImage]]) -> None:
        self.category = category
        self._images = {name: images[name] for name in sorted(images) if len(images[name])}
        if not self._images:
            raise DataError(f"{category} has no defect images with masks")
        self.defects = tuple(self._images)

    @classmethod
    def open(cls, data: Path, category: str | None = None, resolution: int | None = None) -> RealSource:
        """Read all defects of a data folder.

        Args:
            data: A folder or file in one of the layouts that `layouts.index` reads.
            category: Which category, if `data` is a folder of categories.
            resolution: Side in pixels of the squares that images are fitted to; None: images keep their shapes. If the
                largest has more than 1024 x 1024 pixels, all are reduced by one factor.

        Raises:
            DataError: Nothing usable is there.
        """
        table = index(data, category)
        records = {d: [r for r in table.records if r.defect == d and r.mask is not None] for d in table.defects}
        return cls(table.category, _read(records, resolution))

    @classmethod
    def of_partition(cls, table: Table, partition: Partition, resolution: int | None = None) -> RealSource:
        """Read the base set of a partition only, so that nothing is used that a benchmark tests on."""
        records = {d: partition.records(table, "base", d) for d in sorted(partition.defects)}
        return cls(table.category, _read(records, resolution))

    @cached_property
    def digest(self) -> str:
        """Identifies the images and masks; file names do not matter."""
        parts = [f"{name} {len(images)}" for name, images in self._images.items()]
        pixels = (array for images in self._images.values() for item in images for array in (item.image, item.mask))
        return content_digest("\n".join([REAL, self.category, *parts]), pixels)

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The numbers of the images of one defect.

        Raises:
            UnknownDefectError: There is no such defect.
        """
        if defect not in self._images:
            raise UnknownDefectError(defect, self.category, self.defects)
        return tuple(range(len(self._images[defect])))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """The images with these numbers, in order.

        Raises:
            UnknownDefectError: There is no such defect.
            DataError: There is no image with this number.
        """
        known = self.seeds(defect)
        samples = []
        for seed in seeds:
            if seed not in known:
                raise DataError(f"{self.category} has {len(known)} images of {defect!r}, none has number {seed}")
            name, image, mask = self._images[defect][seed]
            origin = Provenance(REAL, self.category, defect, seed, "", {"file": name})
            samples.append(DefectSample(np.ascontiguousarray(image), (mask > 0).astype(np.uint8), defect, origin))
        return samples


def _read(records: Mapping[str, Sequence[Record]], resolution: int | None) -> dict[str, list[RealImage]]:
    """Read all records, as squares or in their own shapes.

    Raises:
        DataError: A file cannot be read, a mask is missing, or a mask does not have the size of its image.
    """
    listed = [(defect, record) for defect, of_defect in records.items() for record in of_defect]
    scale = min(1.0, LARGEST / _largest([record for _, record in listed]))

    def read(record: Record) -> RealImage:
        image = read_image(record.image)
        mask = read_mask(record, (image.shape[0], image.shape[1]))
        if resolution is not None:
            return RealImage(record.name, *fit_to_square(image, mask, resolution, "letterbox")[:2])
        return RealImage(record.name, *reduced(image, mask, scale))

    images: dict[str, list[RealImage]] = {defect: [] for defect in records}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for (defect, _), found in zip(listed, pool.map(read, [record for _, record in listed]), strict=True):
                images[defect].append(found)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # do not read the remaining files first
            raise
    return images


def _largest(records: Sequence[Record]) -> float:
    """Side of a square with as many pixels as the largest image, from the file headers."""
    areas = [1]
    for record in records:
        try:
            with open_file(record.image) as file, Image.open(file) as image:
                areas.append(image.size[0] * image.size[1])
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, DataError):
            continue  # reading it reports it
    return float(np.sqrt(max(areas)))
