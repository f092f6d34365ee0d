"""`DefectSynth`: the augmenter as an albumentations transform. Only this file imports albumentations."""

from __future__ import annotations

import os
import random
import sys
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import albumentations as A
import numpy as np
from albumentations.core.bbox_utils import normalize_bboxes
from albumentations.core.transforms_interface import BaseTransformInitSchema
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

from defect_synth.augment import GOOD, AugmentedImage, DefectAugmenter, Placement, Range
from defect_synth.augment.adapters.metadata_item import describe, is_description, label_like, mask_box, read_request
from defect_synth.compositor.transfer import Mode
from defect_synth.data.records import COMBINED
from defect_synth.errors import ConfigError, DataError, DefectSynthError
from defect_synth.samples import DefectPainter, DefectSource

_UNPAINTABLE = ("images", "volume", "volumes")


def refuse_albumentationsx(library: Any = A) -> None:
    """Refuse AlbumentationsX, which installs under the name albumentations, with other hooks and another licence.

    Raises:
        DefectSynthError: `import albumentations` finds it.
    """
    if hasattr(library.BasicTransform, "sample_parameters"):
        raise DefectSynthError(
            "AlbumentationsX is installed in the place of albumentations, and DefectSynth does not work with it: "
            "pip uninstall albumentationsx, then pip install 'albumentations>=2.0.8,<2.1'; or call DefectAugmenter"
        )


refuse_albumentationsx()


class DefectSynth(A.DualTransform):  # type: ignore[misc]
    """Adds defects to normal images in any albumentations pipeline.

        transform = A.Compose([A.D4(), DefectSynth("runs/bottle/bank", p=0.5)])
        out = transform(image=image, mask=np.zeros(image.shape[:2], np.uint8))
        out["image"], out["mask"], out["defect_synth"]["label"]

    Painted pixels get the value `mask_value` in `mask` and in each of `masks`. If the pipeline has bounding boxes, one
    around the defects is added. Outside the mask the image is unchanged, bit for bit. Additional targets of kind
    "image" are not changed: of a pair (part, reference), only the part gets the defect.

    The result has an item `metadata_key` that describes what was painted: `defect`, `label` (`label_to_index[defect]`,
    0 for good), `count`, `severity` and `seed`. These are numbers and texts, which a DataLoader can collate. Where the
    defects are is in the masks and bounding boxes, which albumentations moves with the image. The same item may be
    passed in to request what is painted: a dict with any of `seed`, `defect`, `severity`, `foreground`, `mask`,
    `region` and `at`, see `DefectAugmenter.apply`. Its places are those of the image that `DefectSynth` gets, so put
    transforms that move the image after it.

    All random choices of a call follow from one integer, which is drawn in `get_params_dependent_on_data` and recorded
    in the parameters, so a replay is exact. albumentations 2.0.8 starts all workers of a DataLoader with equal random
    generators in every epoch, and gives equal generators to all children of `Compose(seed=...)`. Therefore the integer
    also depends on the seed of the worker, which PyTorch draws anew for each epoch, and on the image. For results that
    do not depend on the number of workers, pass `seed` (and call `set_epoch`), pass a `seed` in the metadata item, or
    run the whole pipeline with `call_seeded`.

    Args:
        source: See `DefectAugmenter`. Only strings and paths can be saved with the pipeline.
        defects: Defect categories; None: all of the source.
        severity: 0 to 1.5; a number, or a range to draw from.
        scale: Size relative to the recorded defect, 0.2 to 4; a number, or a range to draw from.
        count: Defects per image; a number, or a range that includes both ends.
        placement: `auto`, `aligned`, `object` or `anywhere`, see `DefectAugmenter`.
        mirror: Whether defects may be mirrored if the product may be.
        mode: `auto`, `residual`, `replace` or `poisson`, see `DefectAugmenter`.
        mask_value: Value of painted pixels in the masks: an integer, or "label" for that of the label.
        label_key: Name of an item that becomes the label if something is painted. The label has the type of the given
            item (number, array, tensor; a text becomes the name of the defect), or is an integer if there is none.
        metadata_key: Name of the metadata item.
        seed: If given, the result depends on this number, the epoch and the image alone.
        p: Probability of painting.

    Raises:
        DefectSynthError: A setting is out of its bounds, or the source cannot be opened.
    """

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]
        """Names of the arguments only; `DefectAugmenter` checks their values."""

        source: Any
        defects: Any
        severity: Any
        scale: Any
        count: Any
        placement: Any
        mirror: Any
        mode: Any
        mask_value: Any
        label_key: str | None
        metadata_key: str
        seed: int | None

    _targets = (Targets.IMAGE, Targets.MASK, Targets.BBOXES, Targets.KEYPOINTS)

    def __init__(
        self,
        source: str | Path | DefectSource | DefectPainter = "demo",
        defects: Sequence[str] | None = None,
        severity: Range = 1.0,
        scale: Range = 1.0,
        count: int | tuple[int, int] = 1,
        placement: Placement = "auto",
        mirror: bool = True,
        mode: Mode = "auto",
        mask_value: int | Literal["label"] = 1,
        label_key: str | None = None,
        metadata_key: str = "defect_synth",
        seed: int | None = None,
        p: float = 0.5,
    ) -> None:
        self.label_key, self.metadata_key = label_key, metadata_key  # `targets` is read by albumentations' __init__
        super().__init__(p=p)
        if mask_value != "label" and (type(mask_value) is not int or mask_value < 1):
            raise ConfigError(f'mask_value must be an integer from 1, or "label"; got {mask_value!r}')
        if seed is not None and seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {seed}")
        self.source = str(source) if isinstance(source, Path) else source
        self.defects, self.severity, self.scale, self.count = defects, severity, scale, count
        self.placement, self.mirror, self.mode = placement, mirror, mode
        self.mask_value = mask_value
        self.fixed_seed = seed  # albumentations sets an attribute `seed` of its own
        self._epoch = _shared_number()
        self._lock = threading.RLock()
        self.augmenter = DefectAugmenter(
            source, defects=defects, severity=severity, scale=scale, count=count, placement=placement, mirror=mirror,
            mode=mode,
        )  # fmt: skip
        names = dict.fromkeys((GOOD, *self.augmenter.source.defects, COMBINED))
        self.label_to_index = {name: index for index, name in enumerate(names)}
        self._entropy: list[int] = []
        self._set_keys()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that defects are drawn for, with `seed`. It also reaches persistent workers of a DataLoader."""
        self._epoch[0] = int(epoch)

    @property
    def epoch(self) -> int:
        """The current epoch."""
        return int(self._epoch[0])

    def __getstate__(self) -> dict[str, Any]:
        """The state without the lock, which cannot be copied."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    @property
    def targets(self) -> dict[str, Any]:
        """Methods by target, including the two items of this transform, so that `strict=True` accepts them."""
        methods = {
            "image": self.apply, "mask": self.apply_to_mask, "masks": self.apply_to_masks,
            "bboxes": self.apply_to_bboxes, "keypoints": self.apply_to_keypoints,
        }  # fmt: skip
        return methods | {key: _unchanged for key in (self.label_key, self.metadata_key) if key is not None}

    def set_random_state(self, random_generator: np.random.Generator, py_random: random.Random) -> None:
        """Use these generators. The seed of a worker is not mixed in if they were set in this process."""
        super().set_random_state(random_generator, py_random)
        self._seeded_in = os.getpid()

    def set_random_seed(self, seed: int | None) -> None:
        """Use a new generator with this seed."""
        super().set_random_seed(seed)
        self._seeded_in = -1

    def __call__(self, *args: Any, force_apply: bool = False, **kwargs: Any) -> Any:
        """Apply the transform. The result has the description even if nothing was painted.

        albumentations keeps the parameters of a call in the transform, so threads that share one take turns.
        """
        with self._lock:
            return self._call(*args, force_apply=force_apply, **kwargs)

    def _call(self, *args: Any, force_apply: bool, **kwargs: Any) -> Any:
        if self.replay_mode:
            if not self.applied_in_replay:
                return self._with_metadata(kwargs, kwargs, None)
        else:
            self._entropy = self._entropy_of(kwargs)
        out = super().__call__(*args, force_apply=force_apply, **kwargs)
        return out if self.params else self._with_metadata(kwargs, out, None)

    def should_apply(self, force_apply: bool = False) -> bool:
        """Decide whether to paint, depending on the seed of the worker and the image, too."""
        if self.p <= 0:
            return False
        return self.p >= 1 or force_apply or bool(self._draw(0).random() < self.p)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the integer that all other random choices follow from."""
        request = read_request(data.get(self.metadata_key))
        return {"drawn": int(request["seed"]) if "seed" in request else int(self._draw(1).integers(2**31))}

    def apply_with_params(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Paint once and apply the result to all targets."""
        if "image" not in kwargs:
            raise DataError(f"DefectSynth paints the item 'image'; got {', '.join(sorted(kwargs))}")
        for key in _UNPAINTABLE:
            if kwargs.get(key) is not None:
                raise DataError(f"DefectSynth paints one image at a time; got the item {key!r}")
        request = read_request(kwargs.get(self.metadata_key))
        painted = self.augmenter.apply(
            kwargs["image"], np.random.default_rng([params["drawn"], 3]),
            defects=[request["defect"]] if "defect" in request else None,
            **{key: request.get(key) for key in ("foreground", "mask", "region", "at", "severity")},
        )  # fmt: skip
        # Left out are other images, which do not change, and our own items, since albumentations cannot pass on texts.
        left_out = {key for key, kind in self._additional_targets.items() if kind == "image"} - {"image"}
        left_out |= {self.metadata_key, self.label_key}
        others = {key: value for key, value in kwargs.items() if key not in left_out}
        out = {**kwargs, **super().apply_with_params({**params, "painted": painted}, *args, **others)}
        return self._with_metadata(kwargs, out, painted, params["drawn"])

    def apply(self, img: NDArray[Any], painted: AugmentedImage, **params: Any) -> NDArray[Any]:
        return painted.image

    def apply_to_mask(self, mask: NDArray[Any], painted: AugmentedImage, **params: Any) -> NDArray[Any]:
        if not painted.mask.any():
            return mask
        if mask.shape[:2] != painted.mask.shape:
            raise DataError(
                f"the mask is {list(mask.shape[:2])}, the image {list(painted.mask.shape)}; make them equal"
            )
        value = self.label_to_index[painted.defect] if self.mask_value == "label" else self.mask_value
        if mask.dtype == np.bool_:
            value = True
        elif np.issubdtype(mask.dtype, np.integer) and value > np.iinfo(mask.dtype).max:
            raise ConfigError(f"mask_value {value} does not fit into a mask of {mask.dtype}; choose a smaller one")
        out = mask.copy()
        out[painted.mask > 0] = value
        return out

    def apply_to_bboxes(self, bboxes: NDArray[Any], painted: AugmentedImage, **params: Any) -> NDArray[Any]:
        """Add a box around the defects, with the label in the label fields or in further numbers of the box."""
        if not painted.mask.any():
            return bboxes
        labels = self._box_labels(painted.defect, bboxes)
        width = bboxes.shape[1] if bboxes.ndim == 2 and len(bboxes) else 4 + len(labels)
        row = np.full((1, width), self.label_to_index[painted.defect], np.float32)
        row[:, :4] = normalize_bboxes(np.array([mask_box(painted.mask)], np.float32), painted.mask.shape)
        row[:, width - len(labels) :] = labels
        return np.concatenate([np.asarray(bboxes, np.float32).reshape(-1, width), row])

    def apply_to_keypoints(self, keypoints: NDArray[Any], **params: Any) -> NDArray[Any]:
        return keypoints

    def get_transform_init_args(self) -> dict[str, Any]:
        """The arguments that `repr`, `to_dict`, `save` and `ReplayCompose` show.

        A source that is an object stays one: the dictionary gives the same transform back in this program, but JSON
        refuses to write it.
        """
        return {
            "source": self.source, "defects": None if self.defects is None else list(self.defects),
            "severity": _plain(self.severity), "scale": _plain(self.scale), "count": _plain(self.count),
            "placement": self.placement, "mirror": self.mirror, "mode": self.mode, "mask_value": self.mask_value,
            "label_key": self.label_key, "metadata_key": self.metadata_key, "seed": self.fixed_seed, "p": self.p,
        }  # fmt: skip

    def _draw(self, stream: int) -> np.random.Generator:
        own = 0 if self.fixed_seed is not None else int(self.random_generator.integers(2**63))
        return np.random.default_rng([own, stream, *self._entropy])

    def _entropy_of(self, data: Mapping[str, Any]) -> list[int]:
        """What else random choices depend on: the image, earlier defects, and the seed of the worker."""
        before = data.get(self.metadata_key)
        content = [_fingerprint(data.get("image")), before["seed"] if is_description(before) else 0]
        if self.fixed_seed is not None:
            return [self.fixed_seed, self.epoch, *content]
        return [*content, _worker_seed() if self._seeded_in != os.getpid() else 0]

    def _box_labels(self, defect: str, bboxes: NDArray[Any]) -> list[float]:
        """The label for each label field as encoded by albumentations, which turns texts into numbers.

        The label is a name if a box of this image has one, and a number otherwise, whatever earlier images had.
        """
        processor = self.get_processor("bboxes")
        labels = []
        fields = (processor.params.label_fields or ()) if processor is not None else ()
        for column, name in enumerate(fields, 4):
            manager = processor.label_manager
            if name not in manager.metadata.get("bboxes", {}):
                manager.process_field("bboxes", name, [])  # albumentations skips empty fields
            encoder = manager.get_encoder("bboxes", name)
            index = self.label_to_index[defect]
            if encoder is None or encoder.is_numerical:
                labels.append(float(index))
                continue
            given = encoder.inverse_transform(bboxes[:, column].astype(int)) if len(bboxes) else ()
            value = defect if any(isinstance(label, str) for label in given) else index
            encoder.update([value])
            labels.append(float(encoder.classes_[value]))
        return labels

    def _with_metadata(
        self, before: Mapping[str, Any], out: Mapping[str, Any], result: AugmentedImage | None, seed: int = 0
    ) -> dict[str, Any]:
        """The items of the pipeline with the description and, if wanted, the label."""
        description = describe(before.get(self.metadata_key), result, self.label_to_index, seed)
        items = {**out, self.metadata_key: description}
        if self.label_key is not None:
            given = before.get(self.label_key)
            has_changed = result is not None and result.mask.any()
            items[self.label_key] = label_like(given, description) if has_changed or given is None else given
        return items


def call_seeded(pipeline: Any, seed: int, **data: Any) -> dict[str, Any]:
    """Run an albumentations pipeline so that the random choices of all its transforms follow from `seed`.

    With a seed made of the epoch and the index of the item, results do not depend on the number of workers, and
    neither workers nor epochs repeat each other.

    Args:
        pipeline: `A.Compose` or one transform.
        seed: 0 or more.
        data: Arguments of the pipeline: image=, mask=, ...
    """
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return dict(pipeline(**data))


def _unchanged(value: Any, **params: Any) -> Any:
    return value


def _shared_number() -> Any:
    """One number in shared memory, so that workers which outlive an epoch see its change; a plain one without torch."""
    torch = sys.modules.get("torch")
    return [0] if torch is None else torch.zeros(1, dtype=torch.int64).share_memory_()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _fingerprint(image: Any) -> int:
    """A checksum of a subset of the pixels of an image; 0 for anything else."""
    if not isinstance(image, np.ndarray) or image.ndim < 2:
        return 0
    step = max(1, min(image.shape[:2]) // 64)
    return zlib.crc32(np.ascontiguousarray(image[::step, ::step]).tobytes())


def _worker_seed() -> int:
    """The seed that PyTorch drew for this worker and epoch; 0 outside of workers. Does not import torch."""
    torch = sys.modules.get("torch")
    found = None if torch is None else torch.utils.data.get_worker_info()
    return 0 if found is None else int(found.seed)
