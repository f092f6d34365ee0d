"""Small files that every export format writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from defect_synth.atomic import replacing


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file in a folder that is made if needed, completely or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def json_text(value: Any) -> str:
    """JSON with sorted keys, so that equal values are equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
