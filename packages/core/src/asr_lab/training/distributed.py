"""Several processes that train one model: PyTorch's own, or one process that needs nothing."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from asr_lab.precision.devices import choose_device


@dataclass(frozen=True)
class Group:
    """The processes of a run, seen from one of them."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """True in the process that writes files and prints."""
        return self.rank == 0

    def sum_counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Add up counts over all processes; the names must be the same everywhere."""
        if self.size == 1:
            return dict(counts)
        names = sorted(counts)
        total = torch.tensor([counts[name] for name in names], device=self.device)
        dist.all_reduce(total)
        return dict(zip(names, total.tolist(), strict=True))

    def sum_tensor(self, tensor: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Add up a tensor over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_as_tree(self, tensor: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Add up a tensor over all processes pairwise, in order of rank; a power of two of them.

        Each process adds one slice, so that as much is sent as by any other way.
        """
        if self.size == 1:
            return tensor
        flat = tensor.flatten()
        slices = nn.functional.pad(flat, (0, -flat.numel() % self.size)).view(self.size, -1)
        terms = self._exchange(slices)
        while len(terms) > 1:
            terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
        gathered = [torch.empty_like(terms[0]) for _ in range(self.size)]
        dist.all_gather(gathered, terms[0])
        return torch.cat(gathered)[: flat.numel()].view_as(tensor)

    def _exchange(self, slices: Float[Tensor, "processes values"]) -> list[Tensor]:
        """Give every process its slice; return this one's slice of all processes."""
        if self.device.type == "cuda":
            received = torch.empty_like(slices)
            dist.all_to_all_single(received, slices)
            return list(received)
        everything = [torch.empty_like(slices) for _ in range(self.size)]
        dist.all_gather(everything, slices)  # gloo has no all-to-all
        return [other[self.rank] for other in everything]

    def any(self, *flags: bool) -> list[bool]:
        """Return which flags are set in at least one process."""
        if self.size == 1:
            return list(flags)
        found = torch.tensor([int(flag) for flag in flags], device=self.device)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return [bool(flag) for flag in found.tolist()]

    def gather(self, thing: object) -> list[object]:
        """Return what every process has, in order of rank; plain values only."""
        if self.size == 1:
            return [thing]
        everything: list[object] = [None] * self.size
        dist.all_gather_object(everything, thing)
        return everything

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def share_statistics(self, module: nn.Module) -> None:
        """Give every process the running statistics of the first, which are those it saves."""
        for buffer in module.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, 0)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Make the gradients of `module` the mean over all processes."""
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices)

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[object]:
        """Span a backward pass whose gradients are not exchanged yet."""
        if isinstance(module, DistributedDataParallel):
            waiting: AbstractContextManager[object] = module.no_sync()
            return waiting
        return nullcontext()


@contextmanager
def process_group(device: str = "") -> Iterator[Group]:
    """Join the other processes if torchrun started this one (NCCL on GPUs, gloo on CPUs)."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not dist.is_available():
        yield Group(choose_device(device))
        return
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Group(chosen, dist.get_rank(), size)
    finally:
        if ours:
            dist.destroy_process_group()


def is_first_process() -> bool:
    """Say whether this is the process that prints; also before the others are joined."""
    return int(os.environ.get("RANK", "0")) == 0
