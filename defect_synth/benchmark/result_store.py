"""Finished measurements on disk, one small file each, so that a benchmark can be stopped at any time and continued."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from defect_synth.atomic import replacing
from defect_synth.errors import DefectSynthError
from defect_synth.files import read_json

_Record = TypeVar("_Record", bound=BaseModel)


class ResultStore:
    """A folder of records. Each is stored under a key and is valid only for the settings it was measured with.

    Args:
        folder: Where the records are; made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def exists(self) -> bool:
        """Whether a measurement has ever been stored: the environment, which is stored first, is none."""
        return self._folder.is_dir() and any(entry.is_dir() for entry in self._folder.iterdir())

    def read(self, key: Sequence[str], settings: str, record_type: type[_Record]) -> _Record | None:
        """The record stored under a key; None if there is none, it is damaged, or its key or settings differ."""
        try:
            content = read_json(self._path(key))
            # Version 0.1.0 did not store the key.
            if content["settings"] != settings or content.get("key", list(key)) != list(key):
                return None
            return record_type.model_validate(content["record"])
        except (DefectSynthError, OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # the caller measures it again

    def write(self, key: Sequence[str], settings: str, record: BaseModel) -> None:
        """Store a record under a key, in place of an older one.

        Raises:
            OutputError: The file cannot be written.
        """
        content = {"key": list(key), "settings": settings, "record": record.model_dump(mode="json")}
        with replacing(self._path(key)) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")

    def _path(self, key: Sequence[str]) -> Path:
        *folders, last = (file_name(part) for part in key)
        return self._folder.joinpath(*folders) / f"{last}.json"


def settings_digest(values: Any) -> str:
    """SHA-256, in hexadecimal, of JSON values: equal settings have equal digests."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def file_name(text: str) -> str:
    """A file name made from any text; different texts get different names."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "x"
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
