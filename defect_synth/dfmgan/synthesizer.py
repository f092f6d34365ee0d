"""Checkpoints -> defect samples: the DFMGAN as a `DefectSource`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from defect_synth.config import Precision
from defect_synth.dfmgan.bundle import KIND as PACKED
from defect_synth.dfmgan.bundle import part_of
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.precision import choose_dtype, set_precision
from defect_synth.engine.checkpoint import Checkpoint, build_generator, load_checkpoint
from defect_synth.errors import CheckpointError, ConfigError, UnknownDefectError
from defect_synth.nn import native
from defect_synth.nn.memory import keep_memory
from defect_synth.nn.weight_cache import enable_weight_cache
from defect_synth.samples import DefectSample, Pixels, Provenance, signal_to_pixels

DEMO, DEMO_DFMGAN = "demo", "demo-dfmgan"

REDRAW = 8
"""How often a sample without a defect is drawn again."""

SPECKS = 0.2
"""Parts of a mask that are smaller than this share of its largest part are left out."""

_CUDA_CHUNK = 16
"""On a GPU every forward pass has exactly this many samples, the last one padded: another batch shape could choose
another kernel, and with it other last bits."""


def _shipped() -> Path:
    return Path(str(files("defect_synth"))) / "demo" / "models" / "demo_dfmgan.safetensors"


class Latent(NamedTuple):
    """The two codes of one sample, float32 [z_dim] each."""

    z_object: Tensor
    z_defect: Tensor


def latent(object_seed: int, defect_seed: int, z_dim: int) -> Latent:
    """Codes of one sample. The two streams are independent, also for equal seeds, and know nothing of other samples."""
    codes = (
        np.random.default_rng((seed, stream)).standard_normal(z_dim, dtype=np.float32)
        for stream, seed in enumerate((object_seed, defect_seed))
    )
    return Latent(*(torch.from_numpy(code) for code in codes))


def _latent_again(seed: int, attempt: int, other_object: bool, z_dim: int) -> Latent:
    """Other codes of the same sample; attempts count from 1."""
    again = (
        np.random.default_rng((seed, 0, attempt) if other_object else (seed, 0)),
        np.random.default_rng((seed, 1, attempt)),
    )
    return Latent(*(torch.from_numpy(rng.standard_normal(z_dim, dtype=np.float32)) for rng in again))


def official_latent(seed: int, count: int, z_dim: int) -> Latent:
    """Codes as the authors' script draws them (facts 8): z_defect depends on how many images are asked for."""
    codes = (np.random.RandomState(s).randn(z_dim).astype(np.float32) for s in (seed, seed + count))
    return Latent(*(torch.from_numpy(code) for code in codes))


class DefectSynthesizer:
    """Draws defect images with masks and their paired defect-free images from trained DFMGANs of one category.

    A `DefectSource`. Sample i depends on the checkpoint and on its own seeds only. On a CPU each sample is computed by
    itself on one thread, several samples at a time: no summation order then depends on batch size or thread count, and
    small layers lose nothing to synchronisation.

    Example:
        >>> source = DefectSynthesizer.load("runs/hazelnut")              # doctest: +SKIP
        >>> sample, = source.sample("hole", [0])                          # doctest: +SKIP
        >>> sample.image.shape, sample.mask.max(), sample.clean.shape     # doctest: +SKIP
    """

    method = "dfmgan"

    def __init__(
        self,
        paths: dict[str, Path],
        *,
        device: str = "auto",
        precision: Precision = "auto",
        truncation_object: float = 1.0,
        truncation_defect: float = 1.0,
        redraw: int = REDRAW,
        specks: float = SPECKS,
    ) -> None:
        """Use `load` instead, which finds the files.

        Args:
            paths: Defect -> checkpoint file of that defect.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            precision: Of the convolutions.
            truncation_object: psi for w_object; below 1: more typical objects, less variety.
            truncation_defect: psi for w_defect.
            redraw: How often a sample without any defect is drawn again, first with other defect codes, then with
                other objects, too; 0: never, as in the paper. Who learns from samples must not be told that an object
                without a defect has one.
            specks: Parts of a mask that are smaller than this share of its largest part, or reach the edge of the box
                around the base masks, are neither painted nor labelled; 0: all are, as in the paper.
        """
        if not 0 <= specks <= 1:
            raise ConfigError(f"specks must lie in [0, 1], got {specks}")
        if not 0 <= redraw <= 100:
            raise ConfigError(f"redraw must lie in [0, 100], got {redraw}")
        for name, psi in (("truncation_object", truncation_object), ("truncation_defect", truncation_defect)):
            if not 0 <= psi <= 2:
                raise ConfigError(f"{name} must lie in [0, 2], got {psi}")
        if not paths:
            raise CheckpointError("no checkpoint was given; expected at least one file for one defect")
        self._paths = dict(sorted(paths.items()))
        self._settings = {"device": device, "precision": precision}
        self.truncation_object, self.truncation_defect = truncation_object, truncation_defect
        self.redraw, self.specks = redraw, specks
        self._loaded: dict[str, tuple[Checkpoint, DFMGAN]] = {}
        self._device = choose_device(device)
        keep_memory()
        first = self._checkpoint(next(iter(self._paths)))
        self._category = first.info.category
        self.resolution = first.info.model.backbone.resolution

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> DefectSynthesizer:
        """Open a run folder, one defect's folder, or one checkpoint file.

        Args:
            path: What `defect-synth train`, `import` or `pack` wrote; `demo-dfmgan`, or `demo`: what ships
                with the package and has learnt the embedded procedural hazelnut (`./demo` is a folder of that name).
            settings: Keyword arguments of the class: device, precision, truncation_object, truncation_defect.

        Raises:
            CheckpointError: Nothing there that can generate defects.
        """
        path = _shipped() if path in (DEMO, DEMO_DFMGAN) else Path(path)
        if path.is_dir():
            found = sorted(path.glob("defects/*/model.safetensors")) or sorted(path.glob("model.safetensors"))
            if not found:
                what = (
                    "a backbone but no defect yet" if (path / "backbone").is_dir() else "no defects/*/model.safetensors"
                )
                raise CheckpointError(f"{path} has {what}; train with `defect-synth train` or continue with --resume")
            paths = {}
            for file in found:
                info = load_checkpoint(file).info if len(found) == 1 else None
                paths[info.defect or file.parent.name if info else file.parent.name] = file
            return cls(paths, **settings)
        if not path.exists() and not path.suffix:
            raise CheckpointError(f"no run folder or checkpoint at {path}; train one with `defect-synth train`")
        checkpoint = load_checkpoint(path)
        if checkpoint.info.kind == PACKED:
            return cls(dict.fromkeys(checkpoint.info.defects, path), **settings)
        if checkpoint.info.kind != "dfmgan":
            raise CheckpointError(
                f"{path} holds a {checkpoint.info.kind} checkpoint, which cannot draw defects; give a defect's "
                "model.safetensors or the run folder"
            )
        return cls({checkpoint.info.defect or "defect": path}, **settings)

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(self._paths)

    @property
    def digest(self) -> str:
        """Names weights and settings: equal digests give equal samples on one machine."""
        parts = {defect: self._checkpoint(defect).digest for defect in self.defects}
        text = json.dumps([parts, self.truncation_object, self.truncation_defect, self.redraw, self.specks,
                           self._settings["precision"], native.describe()])  # fmt: skip
        return hashlib.sha256(text.encode()).hexdigest()

    def sample(
        self,
        defect: str,
        seeds: Sequence[int],
        *,
        object_seeds: Sequence[int] | None = None,
        defect_seeds: Sequence[int] | None = None,
        clean: bool = True,
    ) -> list[DefectSample]:
        """One sample per seed, in order.

        Args:
            defect: One of `defects`.
            seeds: Non-negative integers.
            object_seeds: Seeds of z_object instead of `seeds`; equal ones: different defects on the same object.
            defect_seeds: Seeds of z_defect instead of `seeds`; equal ones: the same defect code on different objects.
            clean: Also draw the paired defect-free image.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            ConfigError: A negative seed, or lists of different lengths.
        """
        if defect not in self._paths:
            raise UnknownDefectError(defect, self.category, self.defects)
        objects = list(seeds if object_seeds is None else object_seeds)
        defects = list(seeds if defect_seeds is None else defect_seeds)
        if not len(seeds) == len(objects) == len(defects):
            raise ConfigError(
                f"object_seeds ({len(objects)}) and defect_seeds ({len(defects)}) must be as many "
                f"as seeds ({len(seeds)})"
            )
        if any(seed < 0 for seed in (*seeds, *objects, *defects)):
            raise ConfigError(f"seeds must be 0 or more, got {min(*seeds, *objects, *defects, 0)}")
        checkpoint = self._checkpoint(defect)
        z_dim = checkpoint.info.model.backbone.z_dim
        codes = [latent(o, d, z_dim) for o, d in zip(objects, defects, strict=True)]
        drawn = self.draw(defect, codes, clean=clean)
        asked = object_seeds is not None or defect_seeds is not None  # for these codes and no others
        attempts = {} if asked else self._redraw(defect, seeds, drawn, clean)
        samples = []
        for number, (seed, o, d, (image, mask, pair)) in enumerate(zip(seeds, objects, defects, drawn, strict=True)):
            parameters: dict[str, str | int | float | bool | None] = {
                "truncation_object": self.truncation_object,
                "truncation_defect": self.truncation_defect,
            }
            if (o, d) != (seed, seed):
                parameters |= {"object_seed": o, "defect_seed": d}
            if number in attempts:
                parameters["redrawn"] = attempts[number]
            provenance = Provenance(self.method, self.category, defect, int(seed), checkpoint.digest, parameters)
            samples.append(DefectSample(image, mask, defect, provenance, pair))
        return samples

    def _redraw(
        self, defect: str, seeds: Sequence[int], drawn: list[tuple[Pixels, Pixels, Pixels | None]], clean: bool
    ) -> dict[int, int]:
        """Replace what has no defect, in place; its places and how often each was drawn again."""
        z_dim = self._checkpoint(defect).info.model.backbone.z_dim
        attempts: dict[int, int] = {}
        for attempt in range(1, self.redraw + 1):
            bare = [number for number, (_, mask, _) in enumerate(drawn) if not mask.any()]
            codes = [_latent_again(int(seeds[number]), attempt, 2 * attempt > self.redraw, z_dim) for number in bare]
            for number, sample in zip(bare, self.draw(defect, codes, clean=clean) if bare else [], strict=True):
                drawn[number], attempts[number] = sample, attempt
        return attempts

    def draw(
        self, defect: str, codes: Sequence[Latent], *, clean: bool = True
    ) -> list[tuple[Pixels, Pixels, Pixels | None]]:
        """Images [R, R, 3], masks [R, R] and paired clean images for given codes; see `sample` for the usual way."""
        _, network = self._network(defect)
        if self._device.type == "cpu":
            return _one_by_one(lambda code: self._forward(network, [code], clean)[0], codes)
        drawn = []
        for start in range(0, len(codes), _CUDA_CHUNK):
            chunk = list(codes[start : start + _CUDA_CHUNK])
            padded = chunk + [chunk[-1]] * (_CUDA_CHUNK - len(chunk))
            drawn += self._forward(network, padded, clean)[: len(chunk)]
        return drawn

    @torch.no_grad()
    def _forward(
        self, network: DFMGAN, codes: Sequence[Latent], clean: bool
    ) -> list[tuple[Pixels, Pixels, Pixels | None]]:
        z_object = torch.stack([code.z_object for code in codes]).to(self._device)
        z_defect = torch.stack([code.z_defect for code in codes]).to(self._device)
        w_object = network.backbone.rows(z_object, truncation=self.truncation_object)
        w_defect = network.defect_rows(z_defect, truncation=self.truncation_defect)
        trunk = network.trunk(w_object)
        if self._device.type == "cpu":
            out, without = network.pair(trunk, w_object, w_defect)
        else:
            out = network.paint(trunk, w_object, w_defect)
            without = network.paint(trunk, w_object, None).image if clean else out.image
        pair = _to_pixels(without) if clean else [None] * len(codes)
        masks = (out.mask_logits[:, 0] >= network.threshold).to(torch.uint8).cpu().numpy()
        return list(zip(_to_pixels(out.image), masks, pair, strict=True))

    def _checkpoint(self, defect: str) -> Checkpoint:
        return self._network(defect)[0]

    def _network(self, defect: str) -> tuple[Checkpoint, DFMGAN]:
        if defect not in self._loaded:
            checkpoint = part_of(load_checkpoint(self._paths[defect]), defect)
            network = build_generator(checkpoint)
            assert isinstance(network, DFMGAN)
            dtype = choose_dtype(self._settings["precision"], self._device)  # type: ignore[arg-type]
            set_precision(network, dtype)
            network.specks = self.specks
            enable_weight_cache(network.to(self._device).requires_grad_(False))
            self._loaded[defect] = (checkpoint, network)
            checkpoint.tensors.clear()  # the network holds them now
        return self._loaded[defect]

    def __getstate__(self) -> dict[str, Any]:
        """Workers get paths, not weights: each process opens the files itself."""
        return {**self.__dict__, "_loaded": {}}


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda[:n]` or `mps` -> a device that is there.

    Raises:
        ConfigError: It is not there, or no such name.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:0, ... or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} was asked for, but this machine has no usable CUDA GPU; use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was asked for, but it is not available here; use --device cpu")
    return device


def _one_by_one(forward: Callable[[Latent], Any], codes: Sequence[Latent]) -> list[Any]:
    """`forward` on each code by a pool of threads that compute alone."""
    workers = min(torch.get_num_threads(), len(codes))
    with _single_threaded_operations():
        if workers <= 1:
            return [forward(code) for code in codes]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(forward, codes))


@contextmanager
def _single_threaded_operations() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _to_pixels(image: Tensor) -> list[Pixels]:
    pixels = signal_to_pixels(image.float()).permute(0, 2, 3, 1).cpu().numpy()
    if pixels.shape[3] == 1:
        pixels = np.repeat(pixels, 3, axis=3)
    return [np.ascontiguousarray(picture) for picture in pixels]
