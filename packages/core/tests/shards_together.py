"""Shard a model over four processes in several ways, and print what its digests are in each.

It is a program of its own, because processes are forked once torch's FSDP is imported.
"""

import json
import os
import socket

import torch
import torch._dynamo  # noqa: F401 (an optimizer imports it, and no fork shall do that again)
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from asr_lab.reproducibility.hash import tensor_digests
from asr_lab.reproducibility.sums import Sums, Tables
from asr_lab.testing.forks import finish, start

SIZE = 4


def model() -> nn.Module:
    """Return a model of which no axis can be cut evenly, and one has fewer rows than processes."""
    torch.manual_seed(0)
    found = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3, bias=False))
    found.register_buffer("count", torch.tensor(3.0))
    return found


def trained(one: nn.Module) -> dict[str, Tensor]:
    """Take a step; return gradients, moments and counters, of this process alone where sharded."""
    optimizer = torch.optim.AdamW(one.parameters())
    (one(torch.ones(4, 5)) * torch.arange(3.0)).sum().backward()
    optimizer.step()
    found = {n: p.grad for n, p in one.named_parameters() if p.grad is not None}
    for name, parameter in one.named_parameters():
        found |= {f"{key}/{name}": value for key, value in optimizer.state[parameter].items()}
    return found


def same(sharded: dict[str, Tensor]) -> bool:
    """Return True if the digests are those of the whole tensors."""
    whole = {n: t.full_tensor() if isinstance(t, DTensor) else t for n, t in sharded.items()}
    return tensor_digests(sharded) == tensor_digests(whole)


def refused(tensor: Tensor) -> str:
    """Return why a tensor has no digest."""
    try:
        tensor_digests({"weight": tensor})
    except TypeError as error:
        return str(error)
    return ""


def work() -> dict[str, object]:
    """Return what one process finds."""
    expected = tensor_digests(model().state_dict())
    found: dict[str, object] = {}
    for name, shape in {"shards": (SIZE,), "shards and copies": (2, 2)}.items():
        names = ("copies", "parts")[-len(shape) :]
        one, mesh = model(), init_device_mesh("cpu", shape, mesh_dim_names=names)
        fully_shard(one, mesh=mesh)
        found[name] = tensor_digests(one.state_dict()) == expected
        found[f"{name}, trained"] = same(trained(one))
    mesh = init_device_mesh("cpu", (2, 2))
    values = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(1)).double()
    for placements in (
        (Shard(1), Replicate()),
        (Replicate(), Shard(2)),
        (Shard(0), Shard(1)),
        (Shard(1), Shard(1)),
        (Replicate(), Replicate()),
    ):
        tensor = distribute_tensor(values, mesh, placements)
        found[str(placements)] = tensor_digests({"x": tensor}) == tensor_digests({"x": values})
    tables, changed = Tables(), []
    for number in range(3):
        sums = Sums(tables)
        sums.add("", {"x": distribute_tensor(values + number, mesh, (Shard(0), Shard(1)))})
        changed.append(sums.digests()[""] == tensor_digests({"x": values + number}))
    found["again"] = all(changed)
    found["partial"] = refused(DTensor.from_local(values, mesh, (Partial(), Replicate())))
    return found


def one(rank: int, port: int) -> dict[str, object]:
    """Join the others, and work."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(SIZE)}
    os.environ.update({**shared, "RANK": str(rank)})
    dist.init_process_group("gloo")
    try:
        return work()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    children = [start(lambda rank=rank: one(rank, number)) for rank in range(SIZE)]  # type: ignore[misc]
    print(json.dumps([finish(*child).value for child in children]))
