"""Several processes, one training run: which share each computes, who writes, and how all agree.

The processes are started by `torchrun` or `accelerate launch`, which tell each one its number in the environment. They
hold the same weights and draw the same random numbers; each computes its share of a batch's parts, and the sums over
all parts are exchanged. The sums, and so the weights, are the same bits in every process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from defect_synth.errors import ConfigError, DefectSynthError, ToldElsewhereError

_T = TypeVar("_T")
_PATIENCE = timedelta(hours=2)  # the others wait while the first judges a snapshot


@dataclass(frozen=True)
class Processes:
    """This process among all of a run.

    Attributes:
        rank: Its number, from 0.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files, judges snapshots and reports."""
        return self.rank == 0

    def share(self, parts: Sequence[_T], what: str) -> Sequence[_T]:
        """This process's share of the parts of a batch.

        Raises:
            ConfigError: The parts cannot be shared out evenly.
        """
        if len(parts) % self.world:
            raise ConfigError(
                f"{what} is cut into {len(parts)} part{'s' if len(parts) > 1 else ''}, which {self.world} processes "
                f"cannot share evenly; start another number of processes or set another micro_batch"
            )
        size = len(parts) // self.world
        return parts[self.rank * size : (self.rank + 1) * size]

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one exchange; all of one type and device."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _company():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))
            start += tensor.numel()

    def any_of(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """For each flag, whether it is set in any process: what one must do, all do."""
        if self.world == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32, device=device)
        self.sum_([votes])
        return [vote > 0 for vote in votes.tolist()]

    def from_first(self, call: Callable[[], _T]) -> _T:
        """What `call` gives in the first process, in all of them; the others wait and do not call it.

        Raises:
            DefectSynthError: What `call` raised, in all of them, so that none waits for one that is gone.
        """
        if self.world == 1:
            return call()
        outcome: list[Any] = [None, None]
        failed: DefectSynthError | None = None
        if self.first:
            try:
                outcome = [call(), None]
            except DefectSynthError as error:
                failed, outcome = error, [None, str(error)]
        with _company():
            dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise failed or ToldElsewhereError(outcome[1])
        return outcome[0]  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Return when all processes have got here."""
        if self.world > 1:
            with _company():
                dist.barrier()


@contextlib.contextmanager
def _company() -> Iterator[None]:
    """An exchange that fails because another process is gone is not for this one to explain."""
    try:
        yield
    except RuntimeError as error:
        raise ToldElsewhereError(
            f"another process of this run has ended ({str(error).splitlines()[0][:80]})"
        ) from error


def processes() -> Processes:
    """The group this process has joined; one process alone where it has joined none."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the group that the environment tells of; leave it when the block ends.

    Args:
        device: `auto`, `cpu`, `cuda`, ...: what the user asked for.

    Yields:
        This process, and the device for it: each process of a machine has a GPU of its own.

    Raises:
        ConfigError: The device cannot be shared by processes, or there are more processes than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in os.environ:
        yield Processes(), device
        return
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {device} is one device, but {world} processes were started; use cuda or cpu")
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", world)), torch.cuda.device_count()
        if here > gpus:
            raise ConfigError(
                f"{here} processes were started for {gpus} usable GPUs; start one per GPU or use --device cpu"
            )
        local = int(os.environ.get("LOCAL_RANK", "0"))
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    else:
        device = "cpu"
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=_PATIENCE)
    try:
        yield processes(), device
    finally:
        dist.destroy_process_group()
