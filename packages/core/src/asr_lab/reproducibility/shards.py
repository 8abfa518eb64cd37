"""Parts of tensors that are distributed over processes, as torch's FSDP and DTensor lay them out.

The digest of such a tensor is that of the whole: each process sums up its part, in the place where
it stands, and the sums are added up. Nothing is gathered.
"""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from jaxtyping import Int64
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from asr_lab.reproducibility.words import Piece


def own_parts(
    tensors: Mapping[str, Tensor | Piece],
) -> tuple[torch.device | None, Mapping[str, Tensor | Piece]]:
    """Return what this process adds to the sums, and the device on which they are added up.

    The device is None, and the tensors are all as they were, if none is distributed. Else, what is
    whole in every process is added by the first alone. Raises TypeError for a tensor whose parts
    are not cut along its axes.
    """
    if not any(issubclass(kind, DTensor) for kind in set(map(type, tensors.values()))):
        return None, tensors
    meshes = [one.device_mesh for one in tensors.values() if isinstance(one, DTensor)]
    device = torch.device(meshes[0].device_type)
    first = dist.get_rank() == 0
    parts: dict[str, Tensor | Piece] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, DTensor):
            parts[name] = own_part(name, tensor)
        else:
            parts[name] = tensor if first else _nothing(tensor)
    return device, parts


def own_part(name: str, tensor: DTensor) -> Piece:
    """Return the part of a distributed tensor that this process adds; nothing if another does.

    Raises TypeError for a tensor whose parts are not cut along its axes.
    """
    mesh, coordinate = tensor.device_mesh, tensor.device_mesh.get_coordinate()
    if coordinate is None:
        return _nothing(tensor)
    offsets, sizes = [0] * tensor.ndim, list(tensor.shape)
    mine = True
    for axis, (at, placement) in enumerate(zip(coordinate, tensor.placements, strict=True)):
        if type(placement) is Replicate:
            mine = mine and at == 0
        elif type(placement) is Shard:
            cut = placement.dim
            length = -(-sizes[cut] // mesh.size(axis))
            start = min(at * length, sizes[cut])
            offsets[cut], sizes[cut] = offsets[cut] + start, min(length, sizes[cut] - start)
        else:
            raise TypeError(f"{name or 'a tensor'} has no digest while it is {placement}")
    local = tensor.to_local()
    assert list(local.shape) == sizes
    piece = Piece(tensor=local, shape=tuple(tensor.shape), offsets=tuple(offsets))
    return piece if mine else _nothing(tensor)


def _nothing(tensor: Tensor | Piece) -> Piece:
    """Return an empty part of a tensor."""
    content = tensor.tensor if isinstance(tensor, Piece) else tensor
    local = content.to_local() if isinstance(content, DTensor) else content
    shape = tuple(tensor.shape)
    return Piece(tensor=local.new_empty(0), shape=shape, offsets=(0,) * len(shape))


def summed_over_processes(
    sums: Int64[Tensor, "tensors 2"], device: torch.device
) -> Int64[Tensor, "tensors 2"]:
    """Add up sums over all processes, modulo 2^64, and return them on the CPU."""
    total = sums.to(device)
    dist.all_reduce(total)
    return total.cpu()
