"""Keep freed memory inside the process: large feature maps are allocated anew in every layer of every step."""

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
    """Stop glibc from returning freed buffers to the kernel; does nothing on other C libraries.

    By default every buffer above 32 MiB is mapped, zeroed page by page and unmapped again at each use, which can cost
    as much as the convolutions. The process then keeps its peak memory until it ends.

    Returns:
        Whether it had an effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 - only glibc has it, and only glibc's numbers are known here
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2 * _GIBIBYTE - 1), (_M_TOP_PAD, 64 << 20))
    return all([mallopt(name, value) == 1 for name, value in settings])
