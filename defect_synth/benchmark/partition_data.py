"""All images of one partition: what may be learnt from, and the test images beside it."""

from __future__ import annotations

from dataclasses import dataclass

from defect_synth.benchmark.context import PartitionContext
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.benchmark.result_store import file_name
from defect_synth.data.partitions import Partition
from defect_synth.data.store import ImageArrays


@dataclass(frozen=True, eq=False)
class PartitionData:
    """One partition of one category.

    Attributes:
        partition: Names of the images of each part.
        context: What may be learnt from.
        test: Real test images with masks.
        test_good: Defect-free test images, or None.
        key: First parts of the keys of its results in the result store.
    """

    partition: Partition
    context: PartitionContext
    test: LabelledArrays
    test_good: ImageArrays | None
    key: tuple[str, ...]

    @property
    def label(self) -> str:
        """Category and partition, for the report."""
        return f"{self.context.category} {self.context.partition}"

    @property
    def folders(self) -> tuple[str, ...]:
        """`key` as folder names."""
        return tuple(file_name(part) for part in self.key)
