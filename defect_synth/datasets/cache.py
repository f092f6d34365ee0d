"""Generated samples stored on disk, so that a network runs once per sample and not once per epoch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from defect_synth.data.folder_cache import FolderCache
from defect_synth.data.png import decode_png, encode_png
from defect_synth.errors import ConfigError
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance, mask_to_pixels, pixels_to_mask

_VERSION = 2  # raise it when the files below change, so that older ones are no longer found


class CachedSource:
    """A source that looks on disk before it asks another source.

    A sample is two or three PNG files and one JSON file in a `FolderCache`, found by the digest of the source, the
    defect and the seed. Several workers may share a folder.

    Args:
        source: Makes the samples that are not there yet.
        folder: Where the files go. It is created when the first sample is stored.

    Raises:
        ConfigError: The digest of `source` is empty, so it could not be told apart from other sources.
    """

    def __init__(self, source: DefectSource, folder: str | Path) -> None:
        if not source.digest:
            raise ConfigError(
                f"cache needs a source with a digest, that of {type(source).__name__} is empty; leave cache out"
            )
        self._source = source
        self._pictures = FolderCache(folder, suffix=".png", version=_VERSION)
        self._origins = FolderCache(folder, suffix=".json", version=_VERSION)

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
        """That of the cached source: the samples are the same."""
        return self._source.digest

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

    def _key(self, defect: str, seed: int, part: str) -> list[str | int]:
        return [self.digest, self.category, defect, seed, part]

    def _read(self, defect: str, seed: int) -> DefectSample | None:
        """A stored sample; None if it is not there, or what is there is no sample."""
        origin = self._origins.get(self._key(defect, seed, "origin"))
        if origin is None:
            return None
        try:
            values = json.loads(origin)
            pictures: dict[str, Pixels] = {}
            for part in values["parts"]:
                data = self._pictures.get(self._key(defect, seed, part))
                if data is None:
                    return None
                pictures[part] = decode_png(data)
            return DefectSample(
                pictures["image"],
                pixels_to_mask(pictures["mask"]),
                defect,
                Provenance.from_json(values["provenance"]),
                pictures.get("clean"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def _write(self, defect: str, seed: int, sample: DefectSample) -> None:
        pictures = {"image": sample.image, "mask": mask_to_pixels(sample.mask)}
        if sample.clean is not None:
            pictures["clean"] = sample.clean
        for part, picture in pictures.items():
            self._pictures.put(self._key(defect, seed, part), encode_png(picture, compression=1))
        # The JSON file names the others, so it comes last: whoever finds it also finds them.
        origin = {"provenance": sample.provenance.to_json(), "parts": list(pictures)}
        self._origins.put(self._key(defect, seed, "origin"), json.dumps(origin).encode())
