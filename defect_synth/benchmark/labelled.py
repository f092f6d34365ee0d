"""Labelled images in memory, and the base, validation and test images of one partition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from defect_synth.baselines.anomaly_source import ANY_DEFECT
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.store import load
from defect_synth.datasets.defect_dataset import GOOD
from defect_synth.errors import DataError
from defect_synth.samples import DefectSample, Pixels


@dataclass(frozen=True, eq=False)
class LabelledArrays:
    """Labelled images of one size in memory.

    Attributes:
        images: uint8 [N, H, W, 3], RGB.
        labels: int64 [N], index into `classes`.
        classes: Names of the labels: defect categories, and `good` if good images are a class too.
        names: Unique name of each image, [N]; shows whether two partitions contain the same image.
        masks: uint8 [N, H, W], 1 on the defect; None if there are none.

    Raises:
        DataError: Shapes, types, labels or names that do not match.
    """

    images: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    masks: Pixels | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3 or count == 0:
            raise DataError(f"images must be uint8 [N, H, W, 3], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != np.int64 or self.labels.shape != (count,):
            raise DataError(f"labels must be int64 [{count}], got {self.labels.dtype} {list(self.labels.shape)}")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError(f"labels must be 0..{len(self.classes) - 1}, got {self.labels.min()}..{self.labels.max()}")
        if len(self.names) != count or len(set(self.names)) != count:
            raise DataError(f"expected {count} different names, got {len(set(self.names))}")
        if self.masks is not None and (self.masks.dtype != np.uint8 or self.masks.shape != self.images.shape[:3]):
            raise DataError(f"masks must be uint8 {list(self.images.shape[:3])}, got {list(self.masks.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[1], self.images.shape[2]

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> LabelledArrays:
        """The images at these indices, in this order, with the same classes."""
        masks = None if self.masks is None else self.masks[indices]
        names = tuple(self.names[i] for i in indices)
        return LabelledArrays(self.images[indices], self.labels[indices], self.classes, names, masks)

    def where_defective(self) -> NDArray[np.int64]:
        """Indices of the images whose class is not `good`."""
        return np.flatnonzero([self.classes[label] != GOOD for label in self.labels])

    def first_of_each_class(self, count: int) -> LabelledArrays:
        """The first `count` images of each class, class by class."""
        indices = [i for label in range(len(self.classes)) for i in (self.labels == label).nonzero()[0][:count]]
        return self.select(indices)

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of images, labels, classes and masks; names do not matter."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        for array in (self.images, self.labels, self.masks):
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @cached_property
    def distinct(self) -> int:
        """Number of images that differ from each other in at least one pixel."""
        return len({fingerprint(image) for image in self.images})

    @classmethod
    def from_samples(cls, samples: Iterable[DefectSample], classes: tuple[str, ...]) -> LabelledArrays:
        """Samples labelled by their defect category and named by method, defect and seed.

        Args:
            samples: At least one, all of one size.
            classes: Names of the labels.

        Raises:
            DataError: The samples differ in size, or there are none.
        """
        samples = list(samples)
        sizes = {sample.mask.shape for sample in samples}
        if len(sizes) != 1:
            raise DataError(f"expected samples of one size, got {sorted(sizes) or 'none'}")
        return cls(
            np.stack([sample.image for sample in samples]),
            np.array([classes.index(sample.defect) for sample in samples], dtype=np.int64),
            classes,
            tuple(f"{s.provenance.method}/{s.defect}/{s.provenance.seed}" for s in samples),
            np.stack([sample.mask for sample in samples]),
        )


@dataclass(frozen=True, eq=False)
class PartitionArrays:
    """One partition of the real images.

    Attributes:
        name: Name of the partition, such as `P1`.
        base: Images that arms learn from.
        validation: Images that models are chosen on; None if the base set is too small to spare any.
        test: Held-out images, used for the scores only.

    Raises:
        DataError: A test image is also a base or validation image, under the same name or another.
    """

    name: str
    base: LabelledArrays
    validation: LabelledArrays | None
    test: LabelledArrays

    def __post_init__(self) -> None:
        for part in (self.base, self.validation):
            if part is None:
                continue
            shared = sorted(set(part.names) & set(self.test.names))
            if shared:
                raise DataError(f"partition {self.name}: {len(shared)} images train and test, such as {shared[0]}")
            refuse_copies(self.name, part, self.test)


def with_one_label(arrays: LabelledArrays) -> LabelledArrays:
    """The defect images among these, all labelled `defect` as the images of systems without defect categories are."""
    defects = arrays.where_defective()
    one_class = replace(arrays, labels=np.zeros_like(arrays.labels), classes=(ANY_DEFECT,))
    return one_class.select(defects)


def without_good(arrays: LabelledArrays) -> LabelledArrays:
    """The defect images among these, without the class `good`."""
    if GOOD not in arrays.classes:
        return arrays
    classes = tuple(name for name in arrays.classes if name != GOOD)
    chosen = arrays.select(arrays.where_defective())
    labels = np.array([classes.index(arrays.classes[label]) for label in chosen.labels], dtype=np.int64)
    return replace(chosen, labels=labels, classes=classes)


def load_partition(
    table: Table,
    partition: Partition,
    resolution: int,
    how: Literal["letterbox", "crop"] = "letterbox",
    *,
    with_good: bool = False,
) -> PartitionArrays:
    """Read the images of one partition.

    Args:
        table: All images of the category.
        partition: Partition of that table.
        resolution: Side of the square images in pixels.
        how: How images of other aspect ratios are made square.
        with_good: Whether good images are a class of their own, with label 0.

    Raises:
        DataError: Files cannot be read or have changed since the partition was made, or good test images are missing.
    """
    defects = tuple(sorted(partition.defects))
    kinds: Sequence[str | None] = (None, *defects) if with_good else defects
    classes = (GOOD, *defects) if with_good else defects
    if with_good and not partition.good.test:
        raise DataError(f"{table.root} keeps no good images for testing; leave out --with-good")

    def read(part: Literal["base", "validation", "test"]) -> LabelledArrays | None:
        records = [(label, r) for label, kind in enumerate(kinds) for r in partition.records(table, part, kind)]
        if not records:
            return None
        arrays = load([record for _, record in records], resolution, how)
        labels = np.array([label for label, _ in records], dtype=np.int64)
        return LabelledArrays(arrays.images, labels, classes, arrays.names, arrays.masks)

    base, test = read("base"), read("test")
    if base is None or test is None:
        raise DataError(f"partition {partition.name} of {table.root} has no base or no test images of any defect")
    return PartitionArrays(partition.name, base, read("validation"), test)


def refuse_copies(partition: str, training: LabelledArrays, test: LabelledArrays) -> None:
    """Refuse training images that are pixel for pixel a test image, whatever their names.

    Raises:
        DataError: There is such a pair; the message names both images.
    """
    held_out = {fingerprint(image): name for image, name in zip(test.images, test.names, strict=True)}
    for image, name in zip(training.images, training.names, strict=True):
        copy = held_out.get(fingerprint(image))
        if copy is not None:
            raise DataError(f"partition {partition}: training image {name} is pixel for pixel the test image {copy}")


def fingerprint(image: Pixels) -> bytes:
    """SHA-256 of shape and pixels."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()
