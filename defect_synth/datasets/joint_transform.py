"""Apply a user's transform to an image and its mask together, with random choices that depend on a seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from defect_synth.errors import ConfigError
from defect_synth.samples import Pixels, pixels_to_unit

Kind = Literal["albumentations", "torchvision", "callable"]


def kind_of(transform: object) -> Kind:
    """The calling convention of a transform, recognised by its type without importing either library.

    Raises:
        ConfigError: It is not callable, or belongs to the first API of torchvision, which does not transform masks.
    """
    modules = [cls.__module__ for cls in type(transform).__mro__]
    if any(name.partition(".")[0] == "albumentations" for name in modules):
        return "albumentations"
    if any(name.startswith("torchvision.transforms.v2") for name in modules):
        return "torchvision"
    if any(name.startswith("torchvision.transforms") for name in modules):
        raise ConfigError(
            f"torchvision.transforms.{type(transform).__name__} moves the image but not the mask; "
            f"use torchvision.transforms.v2.{type(transform).__name__}"
        )
    if not callable(transform):
        raise ConfigError(f"transform must be callable as transform(image, mask), got {type(transform).__name__}")
    return "callable"


def apply_jointly(transform: Any, image: Pixels, mask: Pixels, seed: int) -> tuple[Tensor, Tensor]:
    """Apply `transform` to an image and its mask.

    albumentations is called with `image=` (uint8 [H, W, 3]) and `mask=` (uint8 [H, W]); torchvision v2 with
    `tv_tensors.Image` and `tv_tensors.Mask`; anything else as `transform(image, mask)` with the NumPy arrays.

    Args:
        transform: The transform.
        image: uint8 [H, W, 3].
        mask: uint8 [H, W], 0 or 1.
        seed: Fixes all random choices. albumentations gets new generators, because release 2.0.8 repeats its choices
            across workers and epochs. For others, the global generators (torch on the CPU, `random`, NumPy) are seeded
            for this call and restored afterwards.

    Returns:
        float32 [3, H, W] (in [0, 1] unless the transform itself normalises) and uint8 [H, W].

    Raises:
        ConfigError: The transform did not return an image and a mask.
    """
    kind = kind_of(transform)
    image, mask = image.copy(), mask.copy()  # the transform may write into them, and the source may reuse its arrays
    if kind == "albumentations":
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        out = transform(image=image, mask=mask)
        return image_tensor(out["image"]), mask_tensor(out["mask"])
    with _seeded_globals(seed):
        if kind == "torchvision":
            from torchvision import tv_tensors  # type: ignore[attr-defined, unused-ignore]

            out = transform(
                tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1).contiguous()),
                tv_tensors.Mask(torch.from_numpy(mask)),
            )
        else:
            out = transform(image, mask)
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise ConfigError(f"transform must return (image, mask), got {type(out).__name__}")
    return image_tensor(out[0]), mask_tensor(out[1])


def image_tensor(image: Any) -> Tensor:
    """Convert an array [H, W, 3] or a tensor [3, H, W], uint8 or float, to float32 [3, H, W]; uint8 becomes 0..1.

    Raises:
        ConfigError: It has another type, dtype or shape.
    """
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3:
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    elif isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3:
        tensor = image.as_subclass(Tensor)
    else:
        raise ConfigError(f"transform must return an image [H, W, 3] or a tensor [3, H, W], got {_describe(image)}")
    if tensor.dtype == torch.uint8:
        return pixels_to_unit(tensor)
    if tensor.is_floating_point():
        return tensor.to(torch.float32).contiguous()
    raise ConfigError(f"transform must return a uint8 or float image, got {_describe(image)}")


def mask_tensor(mask: Any) -> Tensor:
    """Convert an array or tensor [H, W] or [1, H, W] of 0 and 1 to uint8 [H, W].

    Raises:
        ConfigError: It has another type or shape, or other values.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(mask)) if isinstance(mask, np.ndarray) else mask
    if isinstance(tensor, Tensor) and tensor.ndim == 3 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if not isinstance(tensor, Tensor) or tensor.ndim != 2:
        raise ConfigError(f"transform must return a mask [H, W], got {_describe(mask)}")
    plain = tensor.as_subclass(Tensor).to(torch.uint8)
    if bool((plain != tensor.as_subclass(Tensor)).any()) or bool((plain > 1).any()):
        raise ConfigError("transform must keep mask values at 0 and 1; use nearest-neighbour interpolation for masks")
    return plain.contiguous()


class TorchvisionFirst:
    """Makes torchvision importable when it is unpickled.

    A spawned worker imports torchvision while it unpickles a transform, before any of our code could run. This object
    is pickled before the transform.
    """

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        from defect_synth.nn.torchvision_import import ensure_torchvision

        return ensure_torchvision, ()


@contextmanager
def _seeded_globals(seed: int) -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    # Not torch.manual_seed, which would also seed the CUDA generators of the user; these are not restored here.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray | Tensor):
        return f"{type(value).__name__} {value.dtype} {list(value.shape)}"
    return type(value).__name__
