"""Several samples at a time, each computed on one thread, so that none depends on how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_on_threads(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """`[function(item) for item in items]` on as many threads as torch may use.

    Each call runs its operations on one thread, so no order of summation depends on how many items or threads there
    are, and small layers lose no time in synchronisation.
    """
    workers = min(torch.get_num_threads(), len(items))
    with _single_threaded_operations():
        if workers <= 1:
            return [function(item) for item in items]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))


@contextmanager
def _single_threaded_operations() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
