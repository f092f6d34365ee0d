"""anomalib datamodules with labelled synthetic defects in train, val or test. Only this file imports anomalib.

`python -m defect_synth.augment.adapters.anomalib ...` runs the `anomalib` command in installations where torchvision
does not load by itself.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from defect_synth.augment import DefectAugmenter
from defect_synth.augment.adapters.anomalib_generator import paint_tensor
from defect_synth.augment.adapters.painted_files import PaintedFiles
from defect_synth.data.generated import FolderSource, find_generated_folder
from defect_synth.errors import ConfigError, DataError, MissingExtraError
from defect_synth.names import printable
from defect_synth.nn.torchvision_import import ensure_torchvision
from defect_synth.open import is_generated_folder, path_of
from defect_synth.samples import Pixels

ensure_torchvision()
if importlib.util.find_spec("anomalib") is None:
    raise MissingExtraError("anomalib", "anomalib", "the anomalib datamodule")
import pandas as pd  # noqa: E402 - comes with anomalib
from anomalib.data import AnomalibDataModule, AnomalibDataset  # noqa: E402
from anomalib.data.utils import LabelName, Split, ValSplitMode, read_image  # noqa: E402

log = logging.getLogger(__name__)

_SUPERVISED_MODELS = ("UniNet",)  # besides every model with `supervised=True`
_SPLITS = {"train": Split.TRAIN, "val": Split.VAL, "test": Split.TEST}


class DefectSynthDataModule(AnomalibDataModule):  # type: ignore[misc]
    """Wraps any anomalib datamodule and adds synthetic defects with masks to train, val or test.

    The defects are painted on normal images, read as anomalib reads them, and stored in files of their own, or they are
    the samples of a generated folder. For `train` and `val` they are painted on training images, of which those for
    `val` are taken out of train; for `test` on the normal test images. The data of the base stays as it is: real test
    images are never moved or changed.

    Args:
        base: The datamodule with the real images, such as MVTecAD, Visa or Folder; in a YAML file a nested
            `class_path`.
        source: A folder that `defect-synth generate` wrote, or anything that `DefectAugmenter` accepts.
        split: The split that gets the defects. `val` makes a validation set of normal images taken from train and as
            many defect images, so that thresholds are fitted without real defects. `train` is for models that learn
            from defects. A warning is logged if the validation set of the base then has no defects to fit a threshold
            on; wrap twice to have both. `test` adds to the real test images.
        ratio: For `val`, the share of the normal training images that is moved there; otherwise the number of defect
            images per normal training image.
        defects: Defect categories; None: all of the source.
        severity: Strength of painted defects; a number, or a range to draw from.
        online: Paint on training batches once they are on the device, with new defects in each epoch, instead of
            writing files. For `split="train"` only.
        probability: With `online`, the share of the normal images of a batch that get a defect.
        folder: Where painted files are stored, see `PaintedFiles`.
        seed: Fixes all random choices.

    Raises:
        ConfigError: A setting is out of its bounds, `online` is used with another split than `train`, or the base is
            itself a `DefectSynthDataModule` that paints online or in the same split.
    """

    online: bool

    def __init__(
        self,
        base: AnomalibDataModule,
        source: Any = "demo",
        split: Literal["train", "val", "test"] = "val",
        ratio: float = 0.2,
        defects: list[str] | None = None,
        severity: float | tuple[float, float] = 1.0,
        online: bool = False,
        probability: float = 0.5,
        folder: str | None = None,
        seed: int = 0,
    ) -> None:
        if split not in _SPLITS:
            raise ConfigError(f"split must be train, val or test, got {split!r}")
        if online and split != "train":
            raise ConfigError(f"online painting is for split 'train', got {split!r}; leave online out to write files")
        if not ratio > 0 or (split == "val" and ratio >= 1):
            raise ConfigError(f"ratio must be above 0{' and below 1' if split == 'val' else ''}, got {ratio}")
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must be between 0 and 1, got {probability}")
        if isinstance(base, DefectSynthDataModule) and base.online:
            raise ConfigError(
                "online painting must be the outermost: wrap the module that paints online around the other"
            )
        if isinstance(base, DefectSynthDataModule) and split in base.splits:
            raise ConfigError(f"split {split!r} has synthetic defects already; wrap with another split, or once")
        super().__init__(
            train_batch_size=base.train_batch_size,
            eval_batch_size=base.eval_batch_size,
            num_workers=base.num_workers,
            train_augmentations=base.train_augmentations,
            val_augmentations=base.val_augmentations,
            test_augmentations=base.test_augmentations,
            seed=seed,
        )
        self.base, self.source, self.split = base, source, split
        self.ratio, self.defects, self.severity = ratio, defects, severity
        self.online, self.probability = online, probability
        self.folder = None if folder is None else Path(folder)
        self.external_collate_fn = base.external_collate_fn
        self.category = base.category
        self._generated = _generated_folder(source)
        if online and self._generated is not None:
            raise ConfigError(f"{source} holds finished images; online painting needs a bank, a painter or a run")
        self._augmenter: DefectAugmenter | None = None

    @property
    def name(self) -> str:
        """The name of the base, so that results are written to the same folder as without the wrapper."""
        return str(self.base.name)

    @property
    def splits(self) -> set[str]:
        """The splits with synthetic defects, including those of a wrapped base."""
        return {self.split} | (self.base.splits if isinstance(self.base, DefectSynthDataModule) else set())

    @property
    def augmenter(self) -> DefectAugmenter:
        """The augmenter that paints, opened on first use."""
        if self._augmenter is None:
            self._augmenter = DefectAugmenter(self.source, defects=self.defects, severity=self.severity)
        return self._augmenter

    def prepare_data(self) -> None:
        """Let the base download or check its files."""
        self.base.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Let the base split its data, then add the defects.

        Raises:
            ConfigError: Defects are added to train, but the model learns from normal images only.
        """
        if "train" in self.splits and stage in (None, "fit"):
            self._require_supervised_model()
        super().setup(stage)

    def _setup(self, _stage: str | None = None) -> None:
        if self.split == "val" and self.base.val_split_mode != ValSplitMode.NONE:
            # Our validation set replaces that of the base, so images that it would move there stay where they are.
            log.info("%s: val_split_mode %s is replaced by synthetic defects", self.base.name, self.base.val_split_mode)
            self.base.val_split_mode = ValSplitMode.NONE
        self.base.setup(_stage)
        self.train_data, self.test_data = self.base.train_data, self.base.test_data
        self._warn_if_category_differs()
        if self.split == "val":
            self._make_validation()
            return
        validation = getattr(self.base, "val_data", None)
        if validation is not None:
            self.val_data = validation
        if self.split == "train":
            self._warn_if_validation_has_no_defects()
        if self.online:
            return
        # Evaluation data is never made of training images, which a model has seen without the defect.
        normals = _normal_paths(self.train_data if self.split == "train" else self.test_data)
        if not normals and self._generated is None:
            raise DataError(
                f"{self.base.name} has no normal test images to paint on, and training images are no test data; keep "
                "some apart (normal_test_dir= of Folder), or use split='val'"
            )
        count = max(1, round(self.ratio * len(_normal_paths(self.train_data))))
        rows = self._defect_rows(normals, count)
        if self.split == "train":
            self.train_data = _extended(self.train_data, rows)
        else:
            self.test_data = _extended(self.test_data, rows)

    def _create_test_split(self) -> None:
        """Done by the base."""

    def _create_val_split(self) -> None:
        """Done by the base, or by us."""

    def _warn_if_category_differs(self) -> None:
        made = self.augmenter.source.category if self._generated is None else FolderSource(self._generated).category
        if self.category and made.lower() != str(self.category).lower():
            log.warning(
                "the source %s makes defects of %s, the images are of %s: give one made for them, unless you mean it",
                self.source if isinstance(self.source, str | Path) else type(self.source).__name__,
                made,
                self.category,
            )

    def _warn_if_validation_has_no_defects(self) -> None:
        validation = getattr(self, "val_data", None)
        if validation is None:
            found = f"{self.base.name} has no validation set"
        elif not (validation.samples.label_index == LabelName.ABNORMAL).any():
            found = f"the validation set of {self.base.name} has no defects"
        else:
            return
        log.warning(
            "%s, so no threshold can be fitted: wrap twice, "
            "DefectSynthDataModule(DefectSynthDataModule(base, split='val'), split='train'), "
            "or give the base another val_split_mode",
            found,
        )

    def _make_validation(self) -> None:
        frame = self.train_data.samples
        normal = np.flatnonzero(frame.label_index.to_numpy() == LabelName.NORMAL)
        if len(normal) < 2:
            raise DataError(f"{self.base.name} has {len(normal)} normal training images; at least 2 are needed for val")
        count = min(len(normal) - 1, max(1, round(self.ratio * len(normal))))
        moved = np.sort(np.random.default_rng([self.seed, 1]).permutation(normal)[:count])
        kept = np.setdiff1d(np.arange(len(frame)), moved)
        held = self.train_data.subsample(moved.tolist())
        self.train_data = self.train_data.subsample(kept.tolist())
        self.val_data = _extended(held, self._defect_rows(_normal_paths(held), count))

    def _defect_rows(self, normals: Sequence[str], count: int) -> pd.DataFrame:
        """`count` defect images as rows of the table of samples of anomalib."""
        if self._generated is not None:
            files = self._generated_files(count)
        else:
            settings = [self.split, self.defects, self.severity]
            files = PaintedFiles(self.augmenter, self.folder, self.seed, settings, _as_anomalib_reads).write(
                normals, count
            )
        return pd.DataFrame(
            [
                {
                    "path": str(image.parent),
                    "image_path": str(image),
                    "mask_path": str(mask),
                    "label": "abnormal",
                    "label_index": int(LabelName.ABNORMAL),
                    "split": _SPLITS[self.split],
                }
                for image, mask in files
            ]
        )

    def _generated_files(self, count: int) -> list[tuple[Path, Path]]:
        assert self._generated is not None
        source = FolderSource(self._generated)
        chosen = [files for defect in self.defects or source.defects for files in source.files(defect)]
        if len(chosen) < count:
            log.info("%s holds %d defect images, %d were requested; all are used", self._generated, len(chosen), count)
        order = np.random.default_rng([self.seed, 2]).permutation(len(chosen))[:count]
        return [chosen[i] for i in sorted(order)]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """With `online`, paint on normal images of a training batch before the model resizes and normalises it."""
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        if not self.online or self.trainer is None or not self.trainer.training:
            return batch
        images, labels = batch.image.clone(), batch.gt_label.clone()
        masks = batch.gt_mask.clone() if batch.gt_mask is not None else images.new_zeros(len(images), *images.shape[2:])
        # Seeded by the step: ranks and epochs differ, and a resumed or repeated fit draws the same defects.
        step = (self.trainer.global_rank, self.trainer.current_epoch, self.trainer.fit_loop.batch_idx + 1)
        for i in range(len(images)):
            rng = np.random.default_rng([self.seed, 5, *step, i])
            if int(labels[i]) != LabelName.NORMAL or rng.random() >= self.probability:
                continue
            images[i], mask = paint_tensor(self.augmenter, images[i], rng)
            masks[i] = mask.to(masks.dtype)
            labels[i] = type(labels[i].item())(bool(mask.any()))
        return batch.update(image=images, gt_mask=masks, gt_label=labels)

    def _require_supervised_model(self) -> None:
        model = getattr(self.trainer, "lightning_module", None) if self.trainer is not None else None
        if model is None or getattr(model, "supervised", False) or type(model).__name__ in _SUPERVISED_MODELS:
            return
        raise ConfigError(
            f"{type(model).__name__} learns from normal images only: defects in its train split would poison it; "
            "use split='val', or a model that learns from defects such as Supersimplenet(supervised=True)"
        )


def _generated_folder(source: Any) -> Path | None:
    """The generated folder that `source` is the path of, or None."""
    path = path_of(source)
    return find_generated_folder(path) if path is not None and is_generated_folder(path) else None


def _as_anomalib_reads(path: Path) -> Pixels:
    """An image file as the items of anomalib's datasets have it, uint8 [H, W, 3].

    Raises:
        DataError: anomalib cannot read it.
    """
    try:
        return np.asarray(np.rint(read_image(path) * 255), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"anomalib cannot read {path}: {printable(str(error))}") from None


def _normal_paths(data: AnomalibDataset) -> list[str]:
    frame = data.samples
    return [str(path) for path in frame.image_path[frame.label_index == LabelName.NORMAL]]


def _extended(data: AnomalibDataset, rows: pd.DataFrame) -> AnomalibDataset:
    """A copy of `data` with more rows. pandas drops `attrs` if tables differ, but anomalib needs them."""
    extended = data.subsample(list(range(len(data.samples))))
    attrs = dict(data.samples.attrs)
    # anomalib collates by the keys of the first item, so an absent mask must be "" in every row or in none.
    frame = data.samples.assign(mask_path=data.samples.mask_path.fillna("").astype(str))
    both = pd.concat([frame, rows.reindex(columns=frame.columns)], ignore_index=True)
    both.attrs.update(attrs)
    both.attrs["task"] = "segmentation"
    extended.samples = both
    extended.samples.attrs.update(both.attrs)
    return extended


def main() -> None:
    """Run the command line of anomalib after making torchvision loadable."""
    from anomalib.cli.cli import main as anomalib

    anomalib()


if __name__ == "__main__":
    main()
