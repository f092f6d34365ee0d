"""Finished cells on disk, one small file each, so that a benchmark can be stopped at any moment and continued."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from defect_synth.atomic import replacing

_Record = TypeVar("_Record", bound=BaseModel)


class Cells:
    """A folder of records, each under a key and only valid for the settings it was measured with.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: tuple[Any, ...], settings: str, kind: type[_Record]) -> _Record | None:
        """The record of a key; None where there is none, or one of other settings."""
        try:
            content = json.loads(self._path(key).read_text(encoding="utf-8"))
            if content["settings"] != settings:
                return None
            return kind.model_validate(content["record"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return None  # missing or damaged: it is measured again

    def write(self, key: tuple[Any, ...], settings: str, record: BaseModel) -> None:
        """Store a record.

        Raises:
            OutputError: It cannot be written.
        """
        content = {"settings": settings, "record": record.model_dump(mode="json")}
        with replacing(self._path(key)) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")

    def _path(self, key: tuple[Any, ...]) -> Path:
        *folders, last = (slug(str(part)) for part in key)
        return self._folder.joinpath(*folders) / f"{last}.json"


def fingerprint_of(values: Any) -> str:
    """SHA-256 of JSON values: equal settings give equal text."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def slug(text: str) -> str:
    """A file name that keeps different texts apart."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "x"
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
