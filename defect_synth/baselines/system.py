"""What every trained system of the paper's tables gives: stages for the loop, and a source from what they wrote.

`fitting.train_system` runs the stages of any of them, `fitting.open_system` opens its run; neither knows which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import torch

from defect_synth.data.store import ImageArrays
from defect_synth.engine.stage import Stage
from defect_synth.samples import DefectSource, Pixels


@dataclass(frozen=True, eq=False)
class Materials:
    """What a system may learn from, at its resolution.

    Attributes:
        category: Object category.
        good: Defect-free training images.
        defects: Defect -> base images with masks.
    """

    category: str
    good: ImageArrays
    defects: Mapping[str, ImageArrays]


@dataclass(frozen=True)
class Step:
    """One training of a system: a stage in a folder of its own, built when those before it are done.

    Attributes:
        folder: Relative to the run, such as `defects/hole`.
        build: Makes the stage; reads what earlier steps wrote.
        share: Part of a time budget, relative to the other steps.
    """

    folder: str
    build: Callable[[], Stage]
    share: float = 1.0


class System(Protocol):
    """A trained system of Tables 1 and 2: its settings are in the object (a frozen pydantic model)."""

    @property
    def method(self) -> str:
        """As in `Provenance.method` and on the command line, such as `finetune`."""
        ...

    @property
    def changes_images(self) -> bool:
        """Whether it changes given good images, or draws everything itself."""
        ...

    @property
    def resolution(self) -> int:
        """Side of its images."""
        ...

    @classmethod
    def preset(cls, name: Literal["fast", "paper"]) -> Self:
        """`fast`: 64 px and minutes on a CPU; `paper`: the schedule of its authors at 256 px."""
        ...

    def at(self, resolution: int | None, seed: int) -> Self:
        """The same at another side (None: as it is), with a seed."""
        ...

    def model_dump(self, *, mode: Literal["json"]) -> dict[str, Any]:
        """The settings as plain values, as every pydantic model gives them."""
        ...

    def steps(self, materials: Materials, run: Path, device: torch.device) -> Sequence[Step]:
        """What to train, in order."""
        ...

    def open(
        self, run: Path, category: str, defects: Sequence[str], good: Pixels, device: torch.device
    ) -> DefectSource:
        """A source from a run whose steps have written their checkpoints.

        Args:
            run: The run folder.
            category: Object category.
            defects: Those it was trained for.
            good: uint8 [N, R, R, 3], defect-free images for systems that change given ones; ignored by the others.
            device: Where to sample.
        """
        ...
