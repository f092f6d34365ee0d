"""The codes of a sample as a function of its seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class CodePair(NamedTuple):
    """The two codes of one sample, float32 [z_dim] each."""

    z_object: Tensor
    z_defect: Tensor


def draw_codes(object_seed: int, defect_seed: int, z_dim: int) -> CodePair:
    """Codes of one sample.

    The two streams are independent, for equal seeds too, and do not depend on how many samples are drawn.
    """
    return CodePair(_normal((object_seed, 0), z_dim), _normal((defect_seed, 1), z_dim))


def redraw_codes(seed: int, attempt: int, z_dim: int, *, other_object: bool) -> CodePair:
    """Other codes of the sample that `draw_codes(seed, seed, z_dim)` gives.

    Args:
        seed: Seed of the sample.
        attempt: Number of the attempt, from 1.
        z_dim: Length of each code.
        other_object: Draw another z_object, too; otherwise only z_defect changes.
    """
    return CodePair(
        _normal((seed, 0, attempt) if other_object else (seed, 0), z_dim), _normal((seed, 1, attempt), z_dim)
    )


def _normal(key: tuple[int, ...], z_dim: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(key).standard_normal(z_dim, dtype=np.float32))
