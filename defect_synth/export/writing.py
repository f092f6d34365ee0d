"""A new folder that appears only when all of it is written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.errors import OutputError
from defect_synth.samples import Pixels


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill; it takes the name `folder` when the block ends, and is removed when it fails.

    Raises:
        OutputError: `folder` is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} holds something already; choose another --output or remove it")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        # Two small writes tell of a full disk or a missing permission in the words of `replacing`.
        with replacing(partial / "start") as probe:
            probe.write_bytes(b"")
        (partial / "start").unlink()
        yield partial
        if folder.exists():
            folder.rmdir()
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def png(pixels: Pixels) -> bytes:
    """RGB [H, W, 3] or grey [H, W] -> the bytes of a PNG."""
    shown = pixels[:, :, ::-1] if pixels.ndim == 3 else pixels
    return bytes(cv2.imencode(".png", np.ascontiguousarray(shown))[1].tobytes())


def put(path: Path, content: bytes | str) -> None:
    """Write a file, making its folder."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def dumps(value: Any) -> str:
    """JSON with sorted keys, so that equal values are equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
