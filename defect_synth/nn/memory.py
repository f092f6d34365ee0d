"""Keep freed memory inside the process, because each layer of each step allocates large feature maps again."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Names and numbers of glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
_GIBIBYTE = 1 << 30


@cache
def keep_memory() -> bool:
    """Stop glibc from returning freed memory to the operating system; no effect with other C libraries.

    By default each buffer above 32 MiB is mapped, zeroed page by page and unmapped at every use, which can take as long
    as the convolutions. With this setting the process keeps its peak memory until it ends.

    Returns:
        Whether the setting was accepted.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - only glibc has this function, and the constants are glibc's
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2 * _GIBIBYTE - 1), (_M_TOP_PAD, 64 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])
