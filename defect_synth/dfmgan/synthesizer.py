"""Trained DFMGANs of one category as a `DefectSource`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from defect_synth.config import Precision
from defect_synth.dfmgan.bundle import BUNDLE, unpack
from defect_synth.dfmgan.checkpoint import DFMGANCard, build_generator
from defect_synth.dfmgan.code_pair import CodePair, draw_codes, redraw_codes
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.precision import choose_dtype, set_precision
from defect_synth.dfmgan.sampling import MIN_COMPONENT, DrawnSample, SamplingSettings, draw_samples
from defect_synth.engine.checkpoint import Checkpoint, load_checkpoint, read_card
from defect_synth.engine.loop import MODEL_FILE
from defect_synth.errors import CheckpointError, ConfigError, UnknownDefectError
from defect_synth.names import require_name
from defect_synth.nn import native
from defect_synth.nn.device import choose_device
from defect_synth.nn.memory import keep_memory
from defect_synth.nn.weight_cache import enable_weight_cache
from defect_synth.samples import DefectSample, Provenance

REDRAW = 8
"""How often a sample without a defect is drawn again."""


class DefectSynthesizer:
    """Draws defect images with masks and their paired defect-free images from trained DFMGANs of one category.

    A `DefectSource`. Sample i depends on the checkpoint and on its own seeds alone: not on the other samples, their
    number or the number of threads.

    Example:
        >>> source = DefectSynthesizer.load("runs/hazelnut")              # doctest: +SKIP
        >>> sample, = source.sample("hole", [0])                          # doctest: +SKIP
        >>> sample.image.shape, sample.mask.max(), sample.clean.shape     # doctest: +SKIP
    """

    method = "dfmgan"

    def __init__(
        self,
        paths: Mapping[str, Path],
        *,
        device: str = "auto",
        precision: Precision = "auto",
        truncation_object: float = 1.0,
        truncation_defect: float = 1.0,
        redraw: int = REDRAW,
        min_component: float = MIN_COMPONENT,
    ) -> None:
        """Open the files of several defects; `load` finds them.

        Args:
            paths: Defect category -> its checkpoint file, or a bundle that holds it.
            device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.
            precision: Number format of the convolutions.
            truncation_object: psi for w_object; below 1: more typical objects, less variety.
            truncation_defect: psi for w_defect.
            redraw: How often a sample without any defect is drawn again, first with other defect codes, then with
                other objects, too; 0: never, as in the paper. A model that learns from the samples must not be told
                that an object without a defect has one.
            min_component: Connected components of a mask that are smaller than this share of its largest one, or that
                reach the border of the box around the base masks, are neither painted nor labelled; 0: all of them
                are, as in the paper.

        Raises:
            CheckpointError: A file cannot be used, or there is none.
            InvalidNameError: The category or a defect is no name.
            ConfigError: A setting is out of its bounds, or the device is not there.
        """
        self._sampling = SamplingSettings(truncation_object, truncation_defect, min_component)
        if not 0 <= redraw <= 100:
            raise ConfigError(f"redraw must lie in [0, 100], got {redraw}")
        if not paths:
            raise CheckpointError("no checkpoint was given; expected at least one file for one defect")
        self._paths = {require_name(defect, path): path for defect, path in sorted(paths.items())}
        self._device, self._precision, self._redraw = choose_device(device), precision, redraw
        self._loaded: dict[str, tuple[Checkpoint[DFMGANCard], DFMGAN]] = {}
        keep_memory()
        first = self._checkpoint(next(iter(self._paths))).card
        self._category = first.category
        self.resolution = first.model.backbone.resolution

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> DefectSynthesizer:
        """Open a run folder, one defect's folder, a checkpoint file or a bundle.

        Args:
            path: What `defect-synth train`, `import` or `pack` wrote. `defect_synth.open.open_source` knows names of
                what ships with the package, too.
            settings: Keyword arguments of the class, such as `device` or `truncation_object`.

        Raises:
            CheckpointError: There is nothing that can draw defects.
        """
        path = Path(path)
        if path.is_dir():
            return cls(_files_in(path), **settings)
        if not path.exists() and not path.suffix:
            raise CheckpointError(f"no run folder or checkpoint at {path}; train one with `defect-synth train`")
        card = read_card(path, DFMGANCard)
        if card.kind == BUNDLE:
            return cls(dict.fromkeys(card.defects, path), **settings)
        if card.kind != "dfmgan":
            raise CheckpointError(
                f"{path} holds a {card.kind} checkpoint, which cannot draw defects; give a defect's {MODEL_FILE} or "
                "the run folder"
            )
        return cls({card.defect or "defect": path}, **settings)

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
        """Identifies weights and settings: equal digests give equal samples on one machine."""
        files = {defect: self._checkpoint(defect).digest for defect in self.defects}
        sampling = self._sampling
        text = json.dumps([files, sampling.truncation_object, sampling.truncation_defect, self._redraw,
                           sampling.min_component, self._precision, native.describe()])  # fmt: skip
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
            clean: Also give the paired defect-free image.

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
        z_dim = checkpoint.card.model.backbone.z_dim
        codes = [draw_codes(o, d, z_dim) for o, d in zip(objects, defects, strict=True)]
        drawn = self._draw(defect, codes, clean)
        # Whoever gives seeds of codes asks for these codes and no others.
        given = object_seeds is not None or defect_seeds is not None
        attempts = {} if given else self._draw_again(defect, seeds, drawn, clean)
        samples = []
        for number, (seed, o, d, (image, mask, pair)) in enumerate(zip(seeds, objects, defects, drawn, strict=True)):
            parameters: dict[str, str | int | float | bool | None] = {
                "truncation_object": self._sampling.truncation_object,
                "truncation_defect": self._sampling.truncation_defect,
            }
            if (o, d) != (seed, seed):
                parameters |= {"object_seed": o, "defect_seed": d}
            if number in attempts:
                parameters["redrawn"] = attempts[number]
            provenance = Provenance(self.method, self.category, defect, int(seed), checkpoint.digest, parameters)
            samples.append(DefectSample(image, mask, defect, provenance, pair))
        return samples

    def _draw(self, defect: str, codes: Sequence[CodePair], clean: bool) -> list[DrawnSample]:
        return draw_samples(self._network(defect)[1], codes, self._sampling, self._device, clean=clean)

    def _draw_again(self, defect: str, seeds: Sequence[int], drawn: list[DrawnSample], clean: bool) -> dict[int, int]:
        """Replace samples without a defect, in place; returns how often each of them was drawn again, by position."""
        z_dim = self._checkpoint(defect).card.model.backbone.z_dim
        attempts: dict[int, int] = {}
        for attempt in range(1, self._redraw + 1):
            empty = [number for number, sample in enumerate(drawn) if not sample.mask.any()]
            if not empty:
                break
            other_object = 2 * attempt > self._redraw
            codes = [redraw_codes(int(seeds[n]), attempt, z_dim, other_object=other_object) for n in empty]
            for number, sample in zip(empty, self._draw(defect, codes, clean), strict=True):
                drawn[number], attempts[number] = sample, attempt
        return attempts

    def _checkpoint(self, defect: str) -> Checkpoint[DFMGANCard]:
        return self._network(defect)[0]

    def _network(self, defect: str) -> tuple[Checkpoint[DFMGANCard], DFMGAN]:
        if defect not in self._loaded:
            checkpoint = unpack(load_checkpoint(self._paths[defect], DFMGANCard), defect)
            network = build_generator(checkpoint)
            assert isinstance(network, DFMGAN)
            set_precision(network, choose_dtype(self._precision, self._device))
            enable_weight_cache(network.to(self._device).requires_grad_(False))
            self._loaded[defect] = (checkpoint, network)
            checkpoint.tensors.clear()  # the network holds them now
        return self._loaded[defect]

    def __getstate__(self) -> dict[str, Any]:
        """Workers get paths, not weights: each process opens the files itself."""
        return {**self.__dict__, "_loaded": {}}


def _files_in(folder: Path) -> dict[str, Path]:
    """The checkpoint of each defect in a run folder or in one defect's folder."""
    found = sorted(folder.glob(f"defects/*/{MODEL_FILE}")) or sorted(folder.glob(MODEL_FILE))
    if not found:
        has_backbone = (folder / "backbone").is_dir()
        what = "a backbone but no defect yet" if has_backbone else f"no defects/*/{MODEL_FILE}"
        raise CheckpointError(f"{folder} has {what}; train with `defect-synth train` or continue with --resume")
    if len(found) == 1:
        return {read_card(found[0], DFMGANCard).defect or found[0].parent.name: found[0]}
    return {file.parent.name: file for file in found}
