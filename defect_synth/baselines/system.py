"""What a trained baseline has to offer: settings, the stages of its training, and a source of samples afterwards.

`train.train_system` trains any of them and `train.open_system` opens what was trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch

from defect_synth.data.store import ImageArrays
from defect_synth.engine.runner import Step
from defect_synth.samples import DefectSource, Pixels

PresetName = Literal["fast", "paper"]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The images that a system may learn from, at its resolution.

    Attributes:
        category: Object category.
        normal: Normal images.
        defects: Base images with masks of each defect category.
    """

    category: str
    normal: ImageArrays
    defects: Mapping[str, ImageArrays]


class System(Protocol):
    """A trained system of Tables 1 and 2 (Duan et al. 2023); the object is a frozen pydantic model of its settings.

    Attributes:
        changes_images: Whether it turns normal images into defect images; otherwise it generates whole images.
        unused: Dotted names of settings, or of groups of them, that have no effect on it and may not be changed.
    """

    changes_images: ClassVar[bool]
    unused: ClassVar[tuple[str, ...]]

    @property
    def method(self) -> str:
        """Name on the command line, in `run.json` and in `Provenance.method`, such as `finetune`."""
        ...

    @property
    def resolution(self) -> int:
        """Side of its images in pixels."""
        ...

    @classmethod
    def preset(cls, name: PresetName) -> Self:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px and the schedule of its authors."""
        ...

    def at(self, resolution: int | None, seed: int) -> Self:
        """A copy for another resolution (None: the same) and another seed.

        Raises:
            ConfigError: The networks cannot have this resolution.
        """
        ...

    def model_dump(self, *, mode: Literal["json"]) -> dict[str, Any]:
        """The settings as plain values; every pydantic model has this method."""
        ...

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """The stages of the training, in order.

        Args:
            training: The images to learn from.
            run: The run folder, from which later stages read what earlier ones have written.
            device: Where to train.
        """
        ...

    def open(
        self, run: Path, category: str, defects: Sequence[str], normal: Pixels, device: torch.device
    ) -> DefectSource:
        """Open a run whose stages have all written a checkpoint.

        Args:
            run: The run folder.
            category: Object category.
            defects: Defect categories that it was trained on.
            normal: Normal images to change, uint8 [N, R, R, 3]; systems that generate whole images ignore them.
            device: Where to sample.

        Raises:
            CheckpointError: A checkpoint is missing, damaged or of other networks.
            DataError: The system changes normal images and there is none.
        """
        ...
