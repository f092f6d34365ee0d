"""Training in several processes: which share of a batch each computes, which of them writes, and how they agree.

`torchrun` or `accelerate launch` starts the processes and gives each its number in the environment. All have the same
weights and draw the same random numbers. Each computes its share of the parts of a batch, and the sums over all parts
are exchanged, so that sums and weights are the same, bit for bit, in every process.
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
_TIMEOUT = timedelta(hours=2)  # the others wait while the first scores a snapshot


@dataclass(frozen=True)
class Processes:
    """This process among those of a run.

    Attributes:
        rank: Number of this process, from 0.
        world: How many processes there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files, scores snapshots and reports progress."""
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
        """Replace tensors, all of one dtype and device, by their sums over all processes, in one exchange."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _exchange():
            dist.all_reduce(flat)
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].reshape(tensor.shape))
            start += tensor.numel()

    def any_of(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.world == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32, device=device)
        self.sum_([votes])
        return [vote > 0 for vote in votes.tolist()]

    def from_first(self, call: Callable[[], _T]) -> _T:
        """Call `call` in the first process and return its result in all of them; the others wait.

        Raises:
            DefectSynthError: What `call` raised, in all processes, so that none waits for one that has ended.
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
        with _exchange():
            dist.broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise failed or ToldElsewhereError(outcome[1])
        return outcome[0]  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Return when all processes have reached this point."""
        if self.world > 1:
            with _exchange():
                dist.barrier()


@contextlib.contextmanager
def _exchange() -> Iterator[None]:
    """Turn the failure of an exchange, whose cause is in another process, into an error that is not reported twice."""
    try:
        yield
    except RuntimeError as error:
        raise ToldElsewhereError(
            f"another process of this run has ended ({str(error).splitlines()[0][:80]})"
        ) from error


def processes() -> Processes:
    """The group that this process has joined; a group of one where it has joined none."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes()


@contextlib.contextmanager
def joined(device: str) -> Iterator[tuple[Processes, str]]:
    """Join the group that the environment describes, and leave it at the end of the block.

    Args:
        device: What the user asked for: `auto`, `cpu`, `cuda`, ...

    Yields:
        This process and its device: each process of a machine has its own GPU.

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
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=_TIMEOUT)
    try:
        yield processes(), device
    finally:
        dist.destroy_process_group()
