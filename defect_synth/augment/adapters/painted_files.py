"""Defect images painted on normal image files and stored beside their masks, so that a second run finds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from defect_synth import __version__
from defect_synth.augment import DefectAugmenter
from defect_synth.data.images import read_image
from defect_synth.data.png import png_size, write_png
from defect_synth.errors import DataError, OutputError
from defect_synth.files import MIB, is_own, own_folders, read_bytes
from defect_synth.samples import Pixels, mask_to_pixels

_MOST_BYTES = 1024 * MIB  # of an image file
_READING = 2  # raised when files are read in another way
_ATTEMPTS = 20  # per image, before the source counts as unsuitable


class PaintedFiles:
    """Paints on normal image files and stores the results as PNG files.

    Args:
        augmenter: Paints.
        folder: Where the files go, in a subfolder named by everything that they depend on; None: a folder of this
            user in the temporary directory of the system, or in the user's caches.
        seed: Fixes all random choices.
        settings: JSON values that the files depend on besides the augmenter's digest, the seed and the images.
        read: Reads an image file, as uint8 [H, W, 3], as the program does that will read the painted ones. Otherwise
            painted images would differ from the others without their defects, by orientation or depth of the pixels.
    """

    def __init__(
        self, augmenter: DefectAugmenter, folder: Path | None, seed: int, settings: Sequence[object],
        read: Callable[[Path], Pixels] = read_image,
    ) -> None:  # fmt: skip
        self._augmenter, self._seed, self._settings = augmenter, seed, list(settings)
        self._folder, self._read = folder, read

    def write(self, normals: Sequence[str], count: int) -> list[tuple[Path, Path]]:
        """Paths of `count` defect images and their masks; the missing and damaged ones are painted first.

        Args:
            normals: Image files to paint on, used in random order and again if there are fewer than `count`.
            count: Number of defect images.

        Raises:
            DataError: An image cannot be read, or no defect fits on it.
            OutputError: A file cannot be written.
        """
        folder = (self._folder or _own_folder()) / self._fingerprint(normals, count)
        order = np.random.default_rng([self._seed, 3]).permutation(len(normals))
        files = []
        for number in range(count):
            image_path = folder / "defect" / f"{number:05d}.png"
            mask_path = folder / "ground_truth" / f"{number:05d}.png"
            size = png_size(image_path)
            if size is None or size != png_size(mask_path):
                image, mask = self._paint(normals[order[number % len(normals)]], number)
                write_png(mask_path, mask_to_pixels(mask), "folder")
                write_png(image_path, image, "folder")
            files.append((image_path, mask_path))
        return files

    def _paint(self, normal: str, number: int) -> tuple[Pixels, Pixels]:
        image = self._read(Path(normal))
        for attempt in range(_ATTEMPTS):
            sample = self._augmenter(image, np.random.default_rng([self._seed, 4, number, attempt]))
            if sample.mask.any():
                return sample.image, sample.mask
        raise DataError(f"no defect of this source fits on {normal}; give a source made for this category")

    def _fingerprint(self, normals: Sequence[str], count: int) -> str:
        """A name that depends on everything that fixes the bytes of the files."""
        values = [__version__, _READING, self._seed, count, *self._settings, self._augmenter.digest]
        name = hashlib.sha256(json.dumps(values, default=list).encode())
        for normal in normals:
            name.update(hashlib.sha256(read_bytes(Path(normal), _MOST_BYTES)).digest())
        return name.hexdigest()[:16]


def _own_folder() -> Path:
    """A folder that only this user can write: pictures in one that all can write might be somebody else's.

    Raises:
        OutputError: There is none.
    """
    tried = own_folders()[::-1]  # the temporary one first: painted images take space and can be made again
    for folder in tried:
        if is_own(folder):
            return folder / "painted"
    raise OutputError(
        f"no folder of your own for painted images (tried {', '.join(map(str, tried))}); give one with folder="
    )
