"""Generated samples kept on disk, so that a network runs once per sample and not once per epoch."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defect_synth.errors import ConfigError, OutputError
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance

_FORMAT = 1  # raise it when the files below change, so that older ones are no longer found


class CachedSource:
    """A source that looks on disk first.

    A sample is two or three PNG files named by a hash of (digest of the source, defect, seed). Every file is written
    under a temporary name and then renamed, and carries the SHA-256 of its pixels: several workers may share a folder,
    and a file that was cut off or damaged is made again.

    Args:
        source: What makes a sample that is not there yet; it needs a `digest` that names its weights and settings.
        folder: Where the files go; made if needed.

    Raises:
        ConfigError: `source` has no digest, so two different sources could not be told apart.
    """

    def __init__(self, source: DefectSource, folder: str | Path) -> None:
        if not source.digest:
            raise ConfigError(
                f"cache needs a source with a digest, that of {type(source).__name__} is empty; leave cache out"
            )
        self._source = source
        self._digest = source.digest
        self._folder = Path(folder)

    @property
    def category(self) -> str:
        """Object category."""
        return self._source.category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._source.defects

    @property
    def digest(self) -> str:
        """That of the source: the samples are the same."""
        return self._digest

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order; the missing ones are made in one call and stored.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            OutputError: A file cannot be written.
        """
        found = {seed: sample for seed in seeds if (sample := self._read(defect, seed)) is not None}
        missing = sorted(set(seeds) - found.keys())
        for seed, sample in zip(missing, self._source.sample(defect, missing) if missing else [], strict=True):
            self._write(defect, seed, sample)
            found[seed] = sample
        return [found[seed] for seed in seeds]

    def _path(self, defect: str, seed: int, part: str) -> Path:
        key = json.dumps([_FORMAT, self._digest, self.category, defect, seed])
        name = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / name[:2] / f"{name}_{part}.png"

    def _read(self, defect: str, seed: int) -> DefectSample | None:
        try:
            image, origin = _read_png(self._path(defect, seed, "image"))
            mask, _ = _read_png(self._path(defect, seed, "mask"))
            values = json.loads(origin)
            clean = _read_png(self._path(defect, seed, "clean"))[0] if values["clean"] else None
            return DefectSample(image, mask // 255, defect, Provenance.from_json(values["provenance"]), clean)
        except (OSError, SyntaxError, ValueError, KeyError, TypeError):  # absent or damaged: the caller makes it again
            return None

    def _write(self, defect: str, seed: int, sample: DefectSample) -> None:
        origin = json.dumps({"provenance": sample.provenance.to_json(), "clean": sample.clean is not None})
        # The image names its parts, so it comes last: whoever finds it also finds the others.
        if sample.clean is not None:
            _write_png(self._path(defect, seed, "clean"), sample.clean)
        _write_png(self._path(defect, seed, "mask"), sample.mask * np.uint8(255))
        _write_png(self._path(defect, seed, "image"), sample.image, origin)


def _checksum(pixels: Pixels, origin: str) -> str:
    header = f"{pixels.shape} {origin}\n".encode()
    return hashlib.sha256(header + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _read_png(path: Path) -> tuple[Pixels, str]:
    from PIL import Image, PngImagePlugin

    with Image.open(path, formats=["PNG"]) as file:
        assert isinstance(file, PngImagePlugin.PngImageFile)
        file.load()
        pixels = np.array(file, dtype=np.uint8)
        origin, checksum = str(file.text.get("origin", "")), file.text.get("sha256")
    if checksum != _checksum(pixels, origin):
        raise ValueError(f"{path} is damaged")
    return pixels, origin


def _write_png(path: Path, pixels: Pixels, origin: str = "") -> None:
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("origin", origin)
    text.add_text("sha256", _checksum(pixels, origin))
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            Image.fromarray(pixels).save(temporary, format="PNG", pnginfo=text, compress_level=1)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the cache file {path}: {error}; free space or choose another cache") from error
