"""A request and a protocol, resolved: the arms, tasks, generators and settings of one benchmark."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.product import ShippedModels, shipped_models
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.request import BenchmarkRequest
from defect_synth.benchmark.result_store import settings_digest
from defect_synth.benchmark.tasks.all_tasks import TASKS
from defect_synth.benchmark.tasks.task import Task
from defect_synth.data.partitions import Partition
from defect_synth.dfmgan.config import TrainConfig
from defect_synth.errors import ConfigError
from defect_synth.nn.device import choose_device

_TASK_FIELDS = {"classifier", "detection", "probe", "segmentation", "threshold", "quality"}
_SELECTION_FIELDS = {"name", "about", "published", "arms", "partitions", "seeds", "ratios"}


@dataclass(frozen=True, eq=False)
class Plan:
    """What one benchmark measures, and how.

    Attributes:
        request: What the user asks for.
        protocol: What is compared.
        arms: The arms, in the order of the tables.
        tasks: The tasks, in order.
        train_config: Settings of the generators' training.
        device: Where networks are trained and run.
        shipped: Models of the package that are used instead of training.
        weights_digest: SHA-256 of the classifier's pretrained weights; empty without.
    """

    request: BenchmarkRequest
    protocol: BenchmarkProtocol
    arms: tuple[Arm, ...]
    tasks: tuple[Task, ...]
    train_config: TrainConfig
    device: str
    shipped: ShippedModels
    weights_digest: str

    @classmethod
    def of(cls, request: BenchmarkRequest, protocol: BenchmarkProtocol) -> Self:
        """Resolve and check a request and a protocol.

        Raises:
            ConfigError: Something unknown or contradictory; names it.
        """
        if request.train and request.run is not None:
            raise ConfigError("--train and --run exclude each other: train generators here, or take them from the run")
        arms = protocol.chosen_arms()
        train_config = protocol.train_config()
        use_shipped = request.data is None and request.run is None and not request.train
        device = str(choose_device(request.device))
        tasks = (task.from_protocol(protocol, device, request.output) for task in TASKS)
        return cls(
            request=request,
            protocol=protocol,
            arms=arms,
            tasks=tuple(task for task in tasks if task is not None),
            train_config=train_config,
            device=device,
            shipped=shipped_models(train_config.model.backbone.resolution) if use_shipped else ShippedModels(),
            weights_digest=_digest_of(protocol.classifier.weights),
        )

    @property
    def resolution(self) -> int:
        """Side of the square images in pixels."""
        return self.train_config.model.backbone.resolution

    def settings_digest(self, partition: Partition, task_settings: Any, *arms: Arm) -> str:
        """Digest of everything besides its key that decides a result.

        More arms, partitions, seeds or ratios do not change it, so that finished results stay valid.

        Args:
            partition: The partition.
            task_settings: JSON values that belong to the task.
            arms: The arms concerned.
        """
        # Fields that are not used in most protocols count only where they are.
        unused = {name for name in ("systems", "textures") if not getattr(self.protocol, name)}
        protocol = self.protocol.model_dump(mode="json", exclude=_TASK_FIELDS | _SELECTION_FIELDS | unused)
        run = None if self.request.run is None else str(self.request.run)
        shipped = [self.shipped.dfmgan is not None, self.shipped.painter is not None]
        values = [protocol, task_settings, self.weights_digest, partition.model_dump(mode="json"), run, shipped]
        versions = [arm.images_version for arm in arms if arm.images_version]
        return settings_digest([*values, self.device, *versions])

    def described_protocol(self) -> dict[str, Any]:
        """The protocol as JSON values, with names instead of paths of this machine."""
        described = _without_folders(self.protocol)
        for section in ("classifier", "detection", "probe", "quality"):
            settings = getattr(self.protocol, section)
            if settings is not None:
                described[section] = _without_folders(settings)
        return described


def _without_folders(settings: BaseModel) -> dict[str, Any]:
    """Settings as JSON values, in which paths are file names."""
    names = {field: value.name for field, value in settings if isinstance(value, Path)}
    return settings.model_dump(mode="json") | names


def _digest_of(weights: Path | None) -> str:
    if weights is None:
        return ""
    if not weights.is_file():
        raise ConfigError(f"no weights file {weights}; expected a .safetensors or .pth file of the classifier")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
