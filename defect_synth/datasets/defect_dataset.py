"""`DefectSynthDataset`: generated defects as a torch dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from defect_synth.datasets.cache import CachedSource
from defect_synth.datasets.class_balance import apportion, class_shares, interleave
from defect_synth.datasets.joint_transform import TorchvisionFirst, apply_jointly, image_tensor, kind_of, mask_tensor
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.open import open_source
from defect_synth.samples import DefectSample, DefectSource, FiniteSource, Pixels

GOOD = "good"
DEFAULT_LENGTH = 1000
_NUM_SEEDS = 2**31  # random items have seeds below this


@dataclass(frozen=True)
class _Item:
    label: int
    defect: str
    seed: int
    is_clean: bool
    transform_seed: int


class DefectSynthDataset(Dataset[dict[str, Any]]):
    """Labelled defect images with masks, generated on access.

    Item i is a dict:

    * `image`: float32 [3, H, W] in [0, 1]; `mask`: uint8 [H, W], 1 on the defect;
    * `clean`: float32 [3, H, W], the same object without the defect, only with `include_clean`;
    * `label`: int, `class_to_idx[defect]`; `defect`: its name; `index`: i; `seed`: the seed given to the source.

    An item depends on (`seed`, epoch, i) alone: not on the number of workers, their start method or the batches. The
    label of item i is the same in every epoch, so `targets` remains valid; only the image changes.

    There are three ways to choose the items:

    * `length`: this many items, new ones in each epoch (see `set_epoch`), with balanced labels or in proportion to
      `weights`;
    * `per_defect`: exactly this many items of each defect, one defect after the other, with seeds `seed`, `seed + 1`,
      ...; a finite source (a bank, a generated folder) gives its first samples instead. All epochs are the same;
    * neither: a finite source gives each of its samples once; for others it is `length=1000`.

    Args:
        source: Any `DefectSource`, or what `defect_synth.open` opens: "demo" (the painter that ships with the package),
            "demo-dfmgan" or "demo-bank", or the path of a run, a checkpoint, a bank or a generated folder.
        length: Number of items.
        per_defect: Number of items of each defect.
        defects: Defect categories; None: all of the source.
        weights: Relative frequency of each defect, with `length`; None: equal.
        transform: albumentations, torchvision v2, or any callable (image uint8 [H, W, 3], mask uint8 [H, W]) ->
            (image, mask). Its random choices, too, depend on (`seed`, epoch, i) alone.
        include_clean: Whether to add `clean`. The transform is called again for it, with the same random choices.
        clean_fraction: Share of the items that are a clean image with an empty mask and the label `good`, which is
            then label 0.
        mixed_sizes: Whether a batch may hold images of several sizes, for a `collate_fn` of your own, as in object
            detection. That of torch can only stack images of one size.
        seed: All random choices follow from it.
        cache: Folder where generated samples are stored.

    Attributes:
        classes: Names of the labels.
        class_to_idx: Name -> label.
        targets: Labels of all items, known without generating them.

    Raises:
        ConfigError: Arguments contradict each other or the source.
        UnknownDefectError: One of `defects` is not in the source.
        DataError, CheckpointError: A path cannot be used.
    """

    def __init__(
        self,
        source: DefectSource | str | Path,
        *,
        length: int | None = None,
        per_defect: int | None = None,
        defects: Sequence[str] | None = None,
        weights: Mapping[str, float] | None = None,
        transform: Callable[..., Any] | None = None,
        include_clean: bool = False,
        clean_fraction: float = 0.0,
        mixed_sizes: bool = False,
        seed: int = 0,
        cache: str | Path | None = None,
    ) -> None:
        if not 0 <= clean_fraction < 1:
            raise ConfigError(f"clean_fraction must be at least 0 and below 1, got {clean_fraction}")
        if seed < 0:
            raise ConfigError(f"seed must not be negative, got {seed}")
        for name, count in (("length", length), ("per_defect", per_defect)):
            if count is not None and count < 1:
                raise ConfigError(f"{name} must be at least 1, got {count}")
        if length is not None and per_defect is not None:
            raise ConfigError(f"length {length} and per_defect {per_defect} exclude each other; give one")
        if weights is not None and length is None:
            raise ConfigError("weights need length: how many items to share out")
        if transform is not None:
            kind_of(transform)
        opened = open_source(source)
        self._seeds = {d: opened.seeds(d) for d in opened.defects} if isinstance(opened, FiniteSource) else None
        self._source = opened if cache is None else CachedSource(opened, cache)
        self._defects = _select_defects(defects, opened)
        self._defect_shares = class_shares(weights, self._defects)
        self._transform = transform
        self._include_clean, self._mixed_sizes = include_clean, mixed_sizes
        self._seed = seed
        # In shared memory, so that workers which outlive an epoch see `set_epoch`.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

        if clean_fraction > 0 and GOOD in self._defects:
            raise ConfigError(f"clean_fraction gives label {GOOD!r}, but the source has a defect of that name")
        self.classes = [*([GOOD] if clean_fraction > 0 else []), *self._defects]
        self.class_to_idx = {name: label for label, name in enumerate(self.classes)}

        fixed: list[tuple[str, int]] | None = None
        if per_defect is not None:
            fixed = [(d, s) for d in self._defects for s in self._first_seeds(d, per_defect)]
        elif length is None and self._seeds is not None:
            fixed = [(d, s) for d in self._defects for s in self._seeds[d]]
        if fixed is not None:
            good = round(len(fixed) * clean_fraction / (1 - clean_fraction))
            self._fixed: list[tuple[str, int]] | None = [*fixed, *self._clean_seeds(good, per_defect or 0)]
            self.targets = [self.class_to_idx[d] for d, _ in fixed] + [0] * good
        else:
            length = DEFAULT_LENGTH if length is None else length
            self._fixed = None
            of_defects = self._defect_shares * (1 - clean_fraction)
            shares = np.concatenate([[clean_fraction], of_defects]) if clean_fraction > 0 else of_defects
            self.targets = interleave(apportion(shares, length)).tolist()

    @property
    def source(self) -> DefectSource:
        """The source of the samples."""
        return self._source

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which changes the images; call it before each pass over the data loader.

        It also reaches persistent workers. With `per_defect` the samples stay the same and only the transform draws
        anew.

        Raises:
            ConfigError: `epoch` is negative.
        """
        if epoch < 0:
            raise ConfigError(f"epoch must not be negative, got {epoch}")
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The items of a whole batch, with one call to the source per defect, so that it can work in batches, too.

        Raises:
            DataError: The images have several sizes, and `mixed_sizes` was not given.
        """
        indices = [self._checked(index) for index in indices]
        items = [self._plan(index) for index in indices]
        samples: dict[tuple[str, int], DefectSample] = {}
        for defect in sorted({item.defect for item in items}):
            seeds = sorted({item.seed for item in items if item.defect == defect})
            made = self._source.sample(defect, seeds)
            samples.update({(defect, seed): sample for seed, sample in zip(seeds, made, strict=True)})
        batch = [
            self._finish(index, item, samples[item.defect, item.seed])
            for index, item in zip(indices, items, strict=True)
        ]
        sizes = sorted({tuple(item["mask"].shape) for item in batch})
        if len(sizes) > 1 and not self._mixed_sizes:
            found = ", ".join(f"{width}x{height}" for height, width in sizes[:3]) + (", ..." if len(sizes) > 3 else "")
            raise DataError(
                f"a batch needs images of one size, this one has {found}; resize them in transform=, use batch_size=1, "
                "or give mixed_sizes=True and a collate_fn of your own"
            )
        return batch

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} items")
        return int(index) % len(self)

    def _plan(self, index: int) -> _Item:
        rng = np.random.default_rng([self._seed, self.epoch, index])
        # The same draws in the same order whatever the arguments, so that one argument does not affect another.
        transform_seed, seed_draw = int(rng.integers(2**63)), int(rng.integers(_NUM_SEEDS))
        some_defect = self._defects[int(rng.choice(len(self._defects), p=self._defect_shares))]
        label = self.targets[index]
        is_clean = self.classes[label] not in self._defects
        if self._fixed is not None:
            defect, seed = self._fixed[index]
        else:
            defect = some_defect if is_clean else self.classes[label]  # a good item is the clean image of some sample
            known = None if self._seeds is None else self._seeds[defect]
            seed = seed_draw if known is None else known[seed_draw % len(known)]
        return _Item(label, defect, seed, is_clean, transform_seed)

    def _finish(self, index: int, item: _Item, sample: DefectSample) -> dict[str, Any]:
        image, mask = sample.image, sample.mask
        if (item.is_clean or self._include_clean) and sample.clean is None:
            raise ConfigError(
                f"{'clean_fraction' if item.is_clean else 'include_clean'} needs a source with clean pairs; "
                f"{sample.provenance.method} gave none for {item.defect!r}, seed {item.seed}"
            )
        if item.is_clean:
            assert sample.clean is not None
            image, mask = sample.clean, np.zeros_like(sample.mask)
        values: dict[str, Any] = {}
        values["image"], values["mask"] = self._tensors(image, mask, item.transform_seed)
        if self._include_clean:
            assert sample.clean is not None
            values["clean"] = self._tensors(sample.clean, mask, item.transform_seed)[0]
        return values | {
            "label": item.label,
            "index": index,
            "defect": self.classes[item.label],
            "seed": item.seed,
        }

    def _tensors(self, image: Pixels, mask: Pixels, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self._transform is None:
            return image_tensor(image), mask_tensor(mask.copy())
        return apply_jointly(self._transform, image, mask, seed)

    def _first_seeds(self, defect: str, count: int) -> Sequence[int]:
        if self._seeds is None:
            return range(self._seed, self._seed + count)
        known = self._seeds[defect]
        if len(known) < count:
            raise ConfigError(
                f"per_defect {count} is more than the {len(known)} samples of {defect!r}; use {len(known)}"
            )
        return known[:count]

    def _clean_seeds(self, count: int, after: int) -> list[tuple[str, int]]:
        """The samples whose clean images are the good items of a fixed set: other seeds than those of the defects."""
        chosen = []
        for i in range(count):
            defect, turn = self._defects[i % len(self._defects)], i // len(self._defects)
            known = None if self._seeds is None else self._seeds[defect]
            chosen.append((defect, self._seed + after + turn if known is None else known[turn % len(known)]))
        return chosen

    def __getstate__(self) -> dict[str, Any]:
        if self._transform is not None and kind_of(self._transform) == "torchvision":
            return {"_torchvision_first": TorchvisionFirst(), **self.__dict__}
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        state.pop("_torchvision_first", None)
        self.__dict__.update(state)
        self._epoch.share_memory_()  # a copy has its own epoch; in a spawned worker the memory is shared already


def _select_defects(defects: Sequence[str] | None, source: DefectSource) -> tuple[str, ...]:
    if not source.defects:
        raise ConfigError(f"the source of {source.category} has no defects")
    if defects is None:
        return tuple(source.defects)
    if isinstance(defects, str):
        raise ConfigError(f"defects must be a list of names, got the string {defects!r}; use [{defects!r}]")
    for defect in defects:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, source.defects)
    if not defects:
        raise ConfigError(f"defects is empty; leave it out for all of {', '.join(source.defects)}")
    return tuple(defect for defect in source.defects if defect in defects)
