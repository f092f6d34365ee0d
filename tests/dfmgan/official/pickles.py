"""Pickles shaped like the snapshots of the authors' trainer and of StyleGAN2-ADA, with random weights.

Written from the description of the format: networks are `torch.nn.Module`s that reduce to
`torch_utils.persistence._reconstruct_persistent_obj(meta)`. The modules that such a file names do not exist here, so
they are put into `sys.modules` for the moment of pickling only.
"""

from __future__ import annotations

import copy
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from defect_synth.dfmgan.official import ImportedSnapshot, import_snapshot, read_snapshot
from defect_synth.errors import CheckpointError

SIDE, FIRST, LATENT = 64, 16, 32
BUFFERS = ("noise_const", "w_avg", "resample_filter")
NAMES_OF_TORCH_1_7 = {
    "training", "_parameters", "_buffers", "_non_persistent_buffers_set", "_backward_hooks", "_forward_hooks",
    "_forward_pre_hooks", "_state_dict_hooks", "_load_state_dict_pre_hooks", "_modules",
}  # fmt: skip


class EasyDict(dict):
    """Stands in for `dnnlib.util.EasyDict`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class PersistentModule(torch.nn.Module):
    """A network, or a part of one, that carries 'source text' and is rebuilt by running it."""

    module_src = "raise AssertionError('the source text inside a snapshot was executed')"
    oldest_torch = False

    def __reduce__(self) -> Any:
        state = dict(self.__dict__)
        if self.oldest_torch:
            hidden = {name for name in torch.nn.Module().__dict__ if name not in NAMES_OF_TORCH_1_7}
            state = {name: value for name, value in state.items() if name not in hidden}
            for name in ("_parameters", "_buffers", "_modules"):
                state[name] = OrderedDict(state[name])
        meta = {
            "type": "class",
            "version": 6,
            "module_src": self.module_src,
            "class_name": "Generator",
            "state": state,
        }
        return _reconstruct_persistent_obj, (meta,), None


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("called by its own name")


def module_tree(tensors: Mapping[str, Tensor], init_kwargs: Mapping[str, Any]) -> PersistentModule:
    """A tree of modules whose `state_dict` is `tensors`, with the attributes that genuine ones have beside them."""
    root = PersistentModule()
    root._init_args = ()
    root._init_kwargs = EasyDict(copy.deepcopy(dict(init_kwargs)))
    for name, tensor in tensors.items():
        node = root
        *path, leaf = name.split(".")
        for part in path:
            if part not in node._modules:
                child = PersistentModule()
                child.act_gain = np.sqrt(2)  # NumPy floats, as their gains are
                child.weight_gain = np.float32(0.25)
                child.activation, child.up, child.padding = "lrelu", 2, [1, 2, 1, 2]
                child.use_noise, child.conv_clamp, child.filter_taps = True, None, np.array([1.0, 3.0, 3.0, 1.0])
                child.precision, child.place, child.shape = torch.float32, torch.device("cpu"), torch.Size([4, 4])
                if part.startswith(("b", "res_b")) and part[-1].isdigit():
                    child.upsample_pad = torch.nn.ReplicationPad2d(1)
                node.add_module(part, child)
            node = node._modules[part]
        if leaf in BUFFERS:
            node.register_buffer(leaf, tensor)
        else:
            node.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
    return root


def generator_kwargs(*, stage: int, channels: int = 3) -> dict[str, Any]:
    synthesis = EasyDict(channel_base=1024, channel_max=32, num_fp16_res=4, conv_clamp=256)
    kwargs = dict(
        c_dim=0, img_resolution=SIDE, img_channels=channels, z_dim=LATENT, w_dim=LATENT,
        mapping_kwargs=EasyDict(num_layers=2), synthesis_kwargs=synthesis,
    )  # fmt: skip
    if stage == 2:
        synthesis |= dict(no_round=False, tanh_mask="late", tanh_k=10.0, res_st=FIRST)
        kwargs |= dict(transfer="res_block_match_dis", mask_threshold=0.25)
    return kwargs


def discriminator_kwargs(*, channels: int = 3, base: int = 1024, most: int = 32) -> dict[str, Any]:
    return dict(
        c_dim=0, img_resolution=SIDE, img_channels=channels, channel_base=base, channel_max=most,
        num_fp16_res=4, conv_clamp=256,
        block_kwargs=EasyDict(), mapping_kwargs=EasyDict(), epilogue_kwargs=EasyDict(mbstd_group_size=4),
    )  # fmt: skip


def generator_tensors(seed: int, *, stage: int, channels: int = 3) -> dict[str, Tensor]:
    """Names and shapes as in `state_dict()` of a 64-pixel generator (1024/32 channels, residual blocks from 16)."""
    draw = _drawer(seed)
    out: dict[str, Tensor] = {}
    for mapping in ["mapping", "defect_mapping"][:stage]:
        for i in range(2):
            out[f"{mapping}.fc{i}.weight"], out[f"{mapping}.fc{i}.bias"] = draw(LATENT, LATENT), draw(LATENT)
        out[f"{mapping}.w_avg"] = draw(LATENT)
    wide = {4: 32, 8: 32, 16: 32, 32: 32, 64: 16}
    for side, width in wide.items():
        for block in ["b", "res_b"][: stage if side >= FIRST else 1]:
            at = f"synthesis.{block}{side}"
            out[f"{at}.resample_filter"] = binomial()
            if side == 4:
                out[f"{at}.const"] = draw(32, 4, 4)
            for conv, inner in (("conv0", wide.get(side // 2)), ("conv1", width)):
                if inner is None:
                    continue
                out[f"{at}.{conv}.weight"], out[f"{at}.{conv}.bias"] = draw(width, inner, 3, 3), draw(width)
                out[f"{at}.{conv}.noise_strength"], out[f"{at}.{conv}.noise_const"] = draw(), draw(side, side)
                out[f"{at}.{conv}.affine.weight"] = draw(inner, LATENT)
                out[f"{at}.{conv}.affine.bias"] = draw(inner)
                out[f"{at}.{conv}.resample_filter"] = binomial()
            if block == "b" or side == FIRST:
                count = channels if block == "b" else 1
                out[f"{at}.torgb.weight"], out[f"{at}.torgb.bias"] = draw(count, width, 1, 1), draw(count)
                out[f"{at}.torgb.affine.weight"], out[f"{at}.torgb.affine.bias"] = draw(width, LATENT), draw(width)
    return out


def discriminator_tensors(seed: int, *, channels: int = 3, base: int = 1024, most: int = 32) -> dict[str, Tensor]:
    """Names and shapes as in `state_dict()` of a 64-pixel discriminator."""
    draw = _drawer(seed)
    out: dict[str, Tensor] = {}
    for side in (64, 32, 16, 8):
        width, narrow = min(base // side, most), min(base * 2 // side, most)
        if side == SIDE:
            out["b64.fromrgb.weight"], out["b64.fromrgb.bias"] = draw(width, channels, 1, 1), draw(width)
            out["b64.fromrgb.resample_filter"] = binomial()
        out[f"b{side}.conv0.weight"], out[f"b{side}.conv0.bias"] = draw(width, width, 3, 3), draw(width)
        out[f"b{side}.conv1.weight"], out[f"b{side}.conv1.bias"] = draw(narrow, width, 3, 3), draw(narrow)
        out[f"b{side}.skip.weight"] = draw(narrow, width, 1, 1)
        for owner in ("", "conv0.", "conv1.", "skip."):
            out[f"b{side}.{owner}resample_filter"] = binomial()
    last = min(base // 4, most)
    out["b4.conv.weight"], out["b4.conv.bias"] = draw(last, last + 1, 3, 3), draw(last)
    out["b4.conv.resample_filter"] = binomial()
    out["b4.fc.weight"], out["b4.fc.bias"] = draw(last, last * 16), draw(last)
    out["b4.out.weight"], out["b4.out.bias"] = draw(1, last), draw(1)
    return out


def networks(*, stage: int, channels: int = 3) -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
    """(tensors, constructor arguments) of every network of a snapshot."""
    arguments = generator_kwargs(stage=stage, channels=channels)
    out = {
        "G": (generator_tensors(1, stage=stage, channels=channels), copy.deepcopy(arguments)),
        "D": (discriminator_tensors(2, channels=channels), discriminator_kwargs(channels=channels)),
        "G_ema": (
            generator_tensors(3, stage=stage, channels=channels),
            generator_kwargs(stage=stage, channels=channels),
        ),
    }
    if stage == 2:
        slim = dict(channels=channels + 1, base=512, most=16)
        out["D_match"] = (discriminator_tensors(4, **slim), discriminator_kwargs(**slim))
    return out


def content(parts: Mapping[str, tuple[dict[str, Tensor], dict[str, Any]]]) -> dict[str, Any]:
    """What the trainer pickles."""
    modules = {name: module_tree(*part) for name, part in parts.items()}
    pipe = PersistentModule()
    pipe.brightness_std, pipe.wavelets = np.float64(0.2), np.ones((4, 12))
    options = EasyDict(class_name="training.dataset.ImageFolderDataset", path="nut.zip", max_size=391, xflip=False)
    return {"training_set_kwargs": options, "augment_pipe": pipe, **modules}


def dumps(value: object, *, protocol: int = 4, oldest_torch: bool = False) -> bytes:
    """Pickle `value` under the module names of the authors' trainer.

    With `oldest_torch` modules have the attributes of torch 1.7 and NumPy names its modules as before version 2
    (protocol 3 at most, in which names are lines of text).
    """
    with _their_modules():
        PersistentModule.oldest_torch = oldest_torch
        try:
            data = pickle.dumps(value, protocol=protocol)
        finally:
            PersistentModule.oldest_torch = False
    if oldest_torch:
        assert protocol <= 3
        data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return data


@contextmanager
def _their_modules() -> Iterator[None]:
    homes = {
        ("torch_utils", ""): None,
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _reconstruct_persistent_obj,
        ("dnnlib", ""): None,
        ("dnnlib.util", "EasyDict"): EasyDict,
    }
    before = {thing: thing.__module__ for thing in homes.values() if thing is not None}
    for (module, name), thing in homes.items():
        assert module not in sys.modules
        sys.modules[module] = types.ModuleType(module)
        if thing is not None:
            setattr(sys.modules[module], name, thing)
            thing.__module__ = module
    try:
        yield
    finally:
        for module, _ in homes:
            del sys.modules[module]
        for thing, module in before.items():
            thing.__module__ = module


def _drawer(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator)


def binomial() -> Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two state_dicts have the same names and values."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def refusal(path: Path, data: bytes) -> str:
    """The one line with which a file of this content is refused."""
    path.write_bytes(data)
    with pytest.raises(CheckpointError) as error:
        read_snapshot(path)
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def imported(tmp_path: Path, change: Callable[[dict[str, Any]], None] | None = None, **kind: Any) -> ImportedSnapshot:
    """What a snapshot of `networks(**kind)` is imported as, after a change of its tensors and arguments."""
    parts = networks(**kind)
    if change is not None:
        change(parts)
    path = tmp_path / "a.pkl"
    path.write_bytes(dumps(content(parts)))
    return import_snapshot(path)
