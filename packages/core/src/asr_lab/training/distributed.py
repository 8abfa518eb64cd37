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
from asr_lab.utils.errors import UserError


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
            cuda = self.device.type == "cuda"  # NCCL guesses the GPU otherwise, and says so
            dist.barrier(device_ids=[self.device.index] if cuda else None)

    def share_statistics(self, module: nn.Module) -> None:
        """Give every process the running statistics of the first, which are those it saves."""
        for buffer in module.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, 0)

    def wrap(self, module: nn.Module, *, same_buckets: bool = False) -> nn.Module:
        """Make the gradients of `module` the mean over all processes.

        With `same_buckets`, a step after a restart adds them up as it would have without.
        """
        if self.size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        if same_buckets:
            spare = _WithSpare(module).to(self.device)
            return DistributedDataParallel(spare, device_ids=devices, find_unused_parameters=True)
        return DistributedDataParallel(module, device_ids=devices)

    def unsynchronised(self, module: nn.Module) -> AbstractContextManager[object]:
        """Span a backward pass whose gradients are not exchanged yet."""
        if isinstance(module, DistributedDataParallel):
            waiting: AbstractContextManager[object] = module.no_sync()
            return waiting
        return nullcontext()


class _WithSpare(nn.Module):
    """A module beside a parameter without use, which keeps data parallelism to its first buckets.

    Torch puts the gradients into other buckets after the first step, unless it looks for unused
    parameters; there, a ring of more than two processes adds them in another order, and the first
    step after a restart would have other bits. Where all are used it warns that it looks in vain.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.spare = nn.Parameter(torch.zeros(1))

    def forward(self, *inputs: object) -> object:
        return self.module(*inputs)


@contextmanager
def process_group(device: str = "") -> Iterator[Group]:
    """Join the other processes if torchrun started this one (NCCL on GPUs, gloo on CPUs).

    Raises UserError where there is no GPU for this process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or not dist.is_available():
        yield Group(choose_device(device))
        return
    chosen = choose_device(device)
    cuda = chosen.type == "cuda"
    if cuda:
        chosen = own_gpu(int(os.environ["LOCAL_RANK"]), torch.cuda.device_count())
        torch.cuda.set_device(chosen)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if cuda else "gloo", device_id=chosen if cuda else None)
    try:
        yield Group(chosen, dist.get_rank(), size)
    finally:
        if ours:
            dist.destroy_process_group()


def own_gpu(local_rank: int, count: int) -> torch.device:
    """Return the GPU of a process of this machine. Raises UserError if there is none for it."""
    if local_rank >= count:
        raise UserError(
            f"process {local_rank + 1} of this machine has no GPU, for there are {count}; start "
            f"{count} with torchrun --nproc-per-node {count}, or say --device cpu"
        )
    return torch.device("cuda", local_rank)


def is_first_process() -> bool:
    """Say whether this is the process that prints; also before the others are joined."""
    return int(os.environ.get("RANK", "0")) == 0
