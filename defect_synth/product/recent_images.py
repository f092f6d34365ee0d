"""A function of an image whose most recent results are kept; images are recognised by their content."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from defect_synth.samples import Pixels

Result = TypeVar("Result")


class RecentImages(Generic[Result]):
    """`function` of an image uint8 [H, W, 3], with a cache of the most recent images. Threads may share it.

    Args:
        function: What to compute; its results are shared and must not be written to.
        size: Number of images remembered.
    """

    def __init__(self, function: Callable[[Pixels], Result], size: int = 256) -> None:
        self._function, self._size = function, size
        self._cached: OrderedDict[bytes, Result] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return RecentImages, (self._function, self._size)

    def __call__(self, image: Pixels) -> Result:
        """The result for an image."""
        key = hashlib.blake2b(image.tobytes() + repr(image.shape).encode(), digest_size=16).digest()
        with self._lock:
            if key in self._cached:
                self._cached.move_to_end(key)
                return self._cached[key]
        found = self._function(image)  # two threads may compute the same: the results are equal
        with self._lock:
            self._cached[key] = found
            while len(self._cached) > self._size:
                self._cached.popitem(last=False)
        return found
