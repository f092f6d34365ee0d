"""`DefectSynth`: learnt or recorded defects as an albumentations transform (only this file imports albumentations)."""

from __future__ import annotations

import os
import random
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard

import albumentations as A
import cv2
import numpy as np
from albumentations.core.bbox_utils import normalize_bboxes
from albumentations.core.transforms_interface import BaseTransformInitSchema
from albumentations.core.type_definitions import Targets
from numpy.typing import NDArray

from defect_synth.augment import GOOD, AugmentedImage, DefectAugmenter, Placement, Range
from defect_synth.compositor.transfer import Mode
from defect_synth.data.records import COMBINED
from defect_synth.errors import ConfigError, DataError, DefectSynthError
from defect_synth.samples import DefectPainter, DefectSource

_ASKED = ("seed", "defect", "severity", "foreground", "mask", "region", "at")
_UNPAINTABLE = ("images", "volume", "volumes")


def refuse_albumentationsx(library: Any = A) -> None:
    """AlbumentationsX installs under the name albumentations, with other hooks and another licence.

    Raises:
        DefectSynthError: It is what `import albumentations` finds.
    """
    if hasattr(library.BasicTransform, "sample_parameters"):
        raise DefectSynthError(
            "AlbumentationsX is installed in the place of albumentations, and DefectSynth does not work with it: "
            "pip uninstall albumentationsx, then pip install 'albumentations>=2.0.8,<2.1'; or call DefectAugmenter"
        )


refuse_albumentationsx()


class DefectSynth(A.DualTransform):  # type: ignore[misc]
    """Paint defects on normal images, inside any albumentations pipeline.

        transform = A.Compose([A.D4(), DefectSynth("runs/bottle/bank", p=0.5)])
        out = transform(image=image, mask=np.zeros(image.shape[:2], np.uint8))
        out["image"], out["mask"], out["defect_synth"]["label"]

    `mask` and each of `masks` get the painted pixels as `mask_value`; bounding boxes, if the pipeline has them, get
    one more around the defects. Outside the mask the image is unchanged, bit for bit. Additional targets of kind
    "image" are left alone: of a pair (part, reference), the part gets the defect.

    The result has an item `metadata_key` that says what was painted: `defect`, `label` (`label_to_index[defect]`, 0
    for good), `box` (x0, y0, x1, y1; zeros for none), `count`, `severity` and `seed`: numbers, texts and tuples of
    fixed length, so that a DataLoader can collate it. The same item may be given, to say what to paint: a dict with
    any of `seed`, `defect`, `severity`, `foreground`, `mask`, `region` and `at` (see `DefectAugmenter.apply`).

    Randomness: each call follows from one integer, drawn in `get_params_dependent_on_data` and kept in the parameters,
    so a replay is exact. albumentations 2.0.8 starts all workers of a DataLoader, in every epoch, with equal
    generators, and gives equal generators to all children of `Compose(seed=...)`. Here they do not matter: the integer
    also follows from the worker's own seed, which PyTorch draws anew for each epoch, and from the image. For results
    that do not depend on the number of workers give `seed` (with `set_epoch`), a `seed` in the metadata item, or run
    the whole pipeline through `call_seeded`.

    Args:
        source: "demo", a path (bank, run, checkpoint, painter, generated folder), a source or a painter. Only strings
            and paths can be saved with the pipeline.
        defects: Which defects; None: all.
        severity: 0 to 1.5, a number or a range.
        scale: Size against the recorded one, 0.2 to 4.
        count: Defects per image, a number or a range.
        placement: auto, aligned, object or anywhere.
        mirror: Defects may be mirrored where the product may be.
        mode: auto, residual, replace or poisson.
        mask_value: What is written into the masks: an integer, or "label" for the label's.
        label_key: An item of this name becomes the label, in the type it has (number, array, tensor; a text becomes
            the defect's name) or as an integer where there is none; as it was where nothing is painted. None: nothing.
        metadata_key: The item that describes.
        seed: Makes the result a function of this number, the epoch and the image alone.
        p: Probability.

    Raises:
        DefectSynthError: A setting out of its bounds, or a source that cannot be opened.
    """

    class InitSchema(BaseTransformInitSchema):  # type: ignore[misc]
        """Only the names: `DefectAugmenter` checks the values, with messages of its own."""

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
        super().__init__(p=p)
        if mask_value != "label" and (type(mask_value) is not int or mask_value < 1):
            raise ConfigError(f'mask_value must be an integer from 1, or "label"; got {mask_value!r}')
        if seed is not None and seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {seed}")
        self.source = str(source) if isinstance(source, Path) else source
        self.defects, self.severity, self.scale, self.count = defects, severity, scale, count
        self.placement, self.mirror, self.mode = placement, mirror, mode
        self.mask_value, self.label_key, self.metadata_key = mask_value, label_key, metadata_key
        self.fixed_seed = seed  # albumentations writes its own `seed`
        self.epoch = 0
        self.augmenter = DefectAugmenter(
            source, defects=defects, severity=severity, scale=scale, count=count, placement=placement, mirror=mirror,
            mode=mode,
        )  # fmt: skip
        names = dict.fromkeys((GOOD, *self.augmenter.source.defects, COMBINED))
        self.label_to_index = {name: index for index, name in enumerate(names)}
        self._entropy: list[int] = []
        self._set_keys()

    def set_epoch(self, epoch: int) -> None:
        """With `seed`: draw the defects of another epoch. Call it before the DataLoader starts its workers."""
        self.epoch = int(epoch)

    @property
    def targets(self) -> dict[str, Any]:
        """What is handed in and out; the two items of our own, too, so that `strict=True` knows them."""
        found = {
            "image": self.apply, "mask": self.apply_to_mask, "masks": self.apply_to_masks,
            "bboxes": self.apply_to_bboxes, "keypoints": self.apply_to_keypoints,
        }  # fmt: skip
        own = (getattr(self, "label_key", None), getattr(self, "metadata_key", None))
        return found | {key: _unchanged for key in own if key is not None}

    def set_random_state(self, random_generator: np.random.Generator, py_random: random.Random) -> None:
        """Generators from outside: who sets them in this process means them, and no worker's seed is mixed in."""
        super().set_random_state(random_generator, py_random)
        self._given_in = os.getpid()

    def set_random_seed(self, seed: int | None) -> None:
        """A new generator."""
        super().set_random_seed(seed)
        self._given_in = -1

    def __call__(self, *args: Any, force_apply: bool = False, **kwargs: Any) -> Any:
        """As every transform; the description is there also where nothing was painted."""
        if self.replay_mode:
            if not self.applied_in_replay:
                return self._described(kwargs, kwargs, None)
        else:
            self._entropy = self._mixed_in(kwargs)
        out = super().__call__(*args, force_apply=force_apply, **kwargs)
        return out if self.params else self._described(kwargs, out, None)

    def should_apply(self, force_apply: bool = False) -> bool:
        """Throw the coin, with the worker's seed and the image mixed in."""
        if self.p <= 0:
            return False
        return self.p >= 1 or force_apply or bool(self._draw(0).random() < self.p)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw one integer, from which everything else follows."""
        asked = _asked(data.get(self.metadata_key))
        return {"drawn": int(asked["seed"]) if "seed" in asked else int(self._draw(1).integers(2**31))}

    def apply_with_params(self, params: dict[str, Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Paint once, hand the result to every target, and describe it."""
        if "image" not in kwargs:
            raise DataError(f"DefectSynth paints the item 'image'; got {', '.join(sorted(kwargs))}")
        for key in _UNPAINTABLE:
            if kwargs.get(key) is not None:
                raise DataError(f"DefectSynth paints one image at a time; got the item {key!r}")
        asked = _asked(kwargs.get(self.metadata_key))
        painted = self.augmenter.apply(
            kwargs["image"], np.random.default_rng([params["drawn"], 3]),
            foreground=asked.get("foreground"), mask=asked.get("mask"), region=asked.get("region"), at=asked.get("at"),
            defects=[asked["defect"]] if "defect" in asked else None, severity=asked.get("severity"),
        )  # fmt: skip
        # Left out: other images, which stay as they are, and our own items (upstream cannot hand a text through).
        left = {key for key, kind in self._additional_targets.items() if kind == "image"} - {"image"}
        left |= {self.metadata_key, self.label_key}
        others = {key: value for key, value in kwargs.items() if key not in left}
        out = {**kwargs, **super().apply_with_params({**params, "painted": painted}, *args, **others)}
        return self._described(kwargs, out, painted, params["drawn"])

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
        """One more box; the pipeline's label fields, or a fifth number of each box, get the label."""
        if not painted.mask.any():
            return bboxes
        labels = self._box_labels(painted.defect)
        width = bboxes.shape[1] if bboxes.ndim == 2 and len(bboxes) else 4 + len(labels)
        row = np.full((1, width), self.label_to_index[painted.defect], np.float32)
        row[:, :4] = normalize_bboxes(np.array([_box(painted.mask)], np.float32), painted.mask.shape)
        row[:, width - len(labels) :] = labels
        return np.concatenate([np.asarray(bboxes, np.float32).reshape(-1, width), row])

    def apply_to_keypoints(self, keypoints: NDArray[Any], **params: Any) -> NDArray[Any]:
        return keypoints

    def get_transform_init_args(self) -> dict[str, Any]:
        """What `to_dict`, `save` and `ReplayCompose` write.

        Raises:
            ConfigError: The source is an object, which no text can name.
        """
        if not isinstance(self.source, str):
            raise ConfigError(
                f"a pipeline with a {type(self.source).__name__} object as source cannot be saved or recorded for "
                "replay; give the path of a bank (`defect-synth bank` writes one) or 'demo'"
            )
        return {
            "source": self.source, "defects": None if self.defects is None else list(self.defects),
            "severity": _plain(self.severity), "scale": _plain(self.scale), "count": _plain(self.count),
            "placement": self.placement, "mirror": self.mirror, "mode": self.mode, "mask_value": self.mask_value,
            "label_key": self.label_key, "metadata_key": self.metadata_key, "seed": self.fixed_seed, "p": self.p,
        }  # fmt: skip

    def _draw(self, stream: int) -> np.random.Generator:
        own = 0 if self.fixed_seed is not None else int(self.random_generator.integers(2**63))
        return np.random.default_rng([own, stream, *self._entropy])

    def _mixed_in(self, data: Mapping[str, Any]) -> list[int]:
        """What keeps draws apart besides the generator: the image, defects painted before, and the worker's seed."""
        before = data.get(self.metadata_key)
        content = [_fingerprint(data.get("image")), before["seed"] if _is_description(before) else 0]
        if self.fixed_seed is not None:
            return [self.fixed_seed, self.epoch, *content]
        return [*content, _worker_seed() if self._given_in != os.getpid() else 0]

    def _box_labels(self, defect: str) -> list[float]:
        """The label for each label field, in the pipeline's own code: albumentations turns texts into numbers."""
        processor = self.get_processor("bboxes")
        labels = []
        for name in (processor.params.label_fields or ()) if processor is not None else ():
            manager = processor.label_manager
            if name not in manager.metadata.get("bboxes", {}):
                manager.process_field("bboxes", name, [])  # upstream passes over fields that are empty
            encoder = manager.get_encoder("bboxes", name)
            index = self.label_to_index[defect]
            if encoder is None or encoder.is_numerical:
                labels.append(float(index))
                continue
            # Among texts the new box gets its defect's name. Without any box yet, nobody can tell, and it is a number.
            value = defect if any(isinstance(known, str) for known in encoder.classes_) else index
            encoder.update([value])
            labels.append(float(encoder.classes_[value]))
        return labels

    def _described(
        self, before: Mapping[str, Any], out: Mapping[str, Any], painted: AugmentedImage | None, drawn: int = 0
    ) -> dict[str, Any]:
        earlier = before.get(self.metadata_key)
        described: dict[str, Any]
        if _is_description(earlier):
            described = dict(earlier)
        else:
            described = {"defect": GOOD, "label": 0, "box": (0, 0, 0, 0), "count": 0, "severity": 0.0, "seed": drawn}
        if painted is not None and painted.mask.any():
            defect, box = painted.defect, _box(painted.mask)
            if described["count"]:  # an earlier DefectSynth of this pipeline painted, too
                defect = defect if defect == described["defect"] else COMBINED
                there = described["box"]
                box = (min(box[0], there[0]), min(box[1], there[1]), max(box[2], there[2]), max(box[3], there[3]))
            described = {
                "defect": defect, "label": self.label_to_index.get(defect, self.label_to_index[COMBINED]), "box": box,
                "count": described["count"] + int(painted.parameters["count"]),
                "severity": float(painted.parameters["severity"]), "seed": drawn,
            }  # fmt: skip
        result = {**out, self.metadata_key: described}
        if self.label_key is not None:
            given = before.get(self.label_key)
            changed = painted is not None and painted.mask.any()
            result[self.label_key] = _labelled(given, described) if changed or given is None else given
        return result


def call_seeded(pipeline: Any, seed: int, **data: Any) -> dict[str, Any]:
    """Run an albumentations pipeline with every draw, also those of its other transforms, following from `seed`.

    Give a seed made of the epoch and the item's index, and the result is the same for any number of workers, and
    neither workers nor epochs repeat each other.

    Args:
        pipeline: `A.Compose` or one transform.
        seed: 0 or more.
        data: What the pipeline is called with: image=, mask=, ...
    """
    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return dict(pipeline(**data))


def _unchanged(value: Any, **params: Any) -> Any:
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_description(value: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and "label" in value


def _asked(value: Any) -> Mapping[str, Any]:
    """What the user wants painted; nothing where the item is absent or describes what was painted before."""
    if value is None or _is_description(value):
        return {}
    if not isinstance(value, Mapping) or not set(value) <= set(_ASKED):
        found = ", ".join(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise DataError(f"the metadata item must be a dict with any of {', '.join(_ASKED)}; got {found}")
    seed = value.get("seed", 0)
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise DataError(f"seed in the metadata item must be a whole number from 0, got {seed!r}")
    return value


def _labelled(given: Any, described: Mapping[str, Any]) -> Any:
    """The label in the type of the one that was given."""
    if isinstance(given, str):
        return described["defect"]
    if isinstance(given, np.ndarray | np.generic):
        return np.full_like(given, described["label"])[()]
    if type(given).__module__.partition(".")[0] == "torch":
        return given.new_full(tuple(given.shape), described["label"])
    return described["label"]


def _box(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask)
    return int(x), int(y), int(x + width), int(y + height)


def _fingerprint(image: Any) -> int:
    """A number from a sample of the image's pixels."""
    if not isinstance(image, np.ndarray) or image.ndim < 2:
        return 0
    step = max(1, min(image.shape[:2]) // 64)
    return zlib.crc32(np.ascontiguousarray(image[::step, ::step]).tobytes())


def _worker_seed() -> int:
    """What PyTorch drew for this worker and epoch; 0 outside of workers, without importing torch."""
    torch = sys.modules.get("torch")
    found = None if torch is None else torch.utils.data.get_worker_info()
    return 0 if found is None else int(found.seed)
