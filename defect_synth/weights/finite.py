"""Weights that are numbers: a training that diverged leaves NaN, which would draw black images without a word."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from defect_synth.errors import CheckpointError


def require_finite(tensors: Mapping[str, Tensor], where: object) -> None:
    """Check that no tensor holds NaN or infinity.

    Args:
        tensors: By name.
        where: The file, for the message.

    Raises:
        CheckpointError: Names the first tensor that does.
    """
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        values = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # torch cannot compare numbers of 8 bits
        if not all(extreme.isfinite() for extreme in values.aminmax()):  # NaN is both the least and the greatest
            raise CheckpointError(
                f"{where} holds NaN or infinity instead of weights, first in {name[:100]!r}: its training diverged or "
                "the file is damaged; use an earlier snapshot or train again"
            )


def require_finite_output(*outputs: Tensor) -> None:
    """Check what a network has drawn: weights that are numbers, but far too large, overflow on the way.

    Raises:
        CheckpointError: There is NaN or infinity in it.
    """
    if not all(bool(output.isfinite().all()) for output in outputs):
        raise CheckpointError(
            "the network gives NaN or infinity instead of an image: its training diverged or its file is damaged; use "
            "an earlier snapshot or train again"
        )
