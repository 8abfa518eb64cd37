"""What is remembered of tensors from one digest to the next never changes a digest."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from asr_lab.reproducibility.sums import Sums, Tables
from asr_lab.reproducibility.words import Piece

Named = dict[str, Tensor | Piece]


def tensors() -> Named:
    """Return tensors of several kinds: weights, a buffer, a counter, and a part of something."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(4, 6, generator=generator)
    return {
        "weight": torch.randn(6, 4, generator=generator),
        "bias": torch.randn(4, generator=generator).bfloat16(),
        "step": torch.tensor(3.0),
        "complex": torch.randn(3, dtype=torch.complex64, generator=generator),
        "rows": Piece(tensor=rows, shape=(8, 6), offsets=(4, 0)),
    }


def digests(named: Named, tables: Tables | None = None, group: str = "model") -> dict[str, str]:
    """Return the digests, in order."""
    sums = Sums(tables)
    sums.add(group, named)
    return sums.digests()[group]


def changed(**values: Tensor | Piece) -> Callable[[Named], Named]:
    return lambda named: {**named, **values}


def in_place(name: str, change: Callable[[Tensor], object]) -> Callable[[Named], Named]:
    """Return what changes a tensor that stays the same object."""

    def apply(named: Named) -> Named:
        tensor = named[name]
        assert isinstance(tensor, Tensor)
        change(tensor)
        return named

    return apply


def data(value: Tensor) -> Callable[[Tensor], object]:
    return lambda tensor: setattr(tensor, "data", value)


def moved_part(named: Named) -> Named:
    rows = named["rows"]
    assert isinstance(rows, Piece)
    return {**named, "rows": replace(rows, offsets=(0, 0))}


def larger_whole(named: Named) -> Named:
    rows = named["rows"]
    assert isinstance(rows, Piece)
    return {**named, "rows": replace(rows, shape=(9, 6))}


CHANGES: dict[str, Callable[[Named], Named]] = {
    "other numbers": in_place("weight", lambda one: one.mul_(2)),
    "other numbers elsewhere": changed(weight=torch.ones(6, 4)),
    "other numbers under the same object": in_place("weight", data(torch.ones(6, 4))),
    "another type": in_place("step", data(torch.tensor(3.0, dtype=torch.float64))),
    "another type of as many bytes": changed(bias=torch.ones(4, dtype=torch.float16)),
    "another shape": in_place("weight", lambda one: one.resize_(4, 6)),
    "axes that have changed places": in_place("weight", lambda one: one.t_()),
    "fewer elements": in_place("weight", lambda one: one.resize_(2, 4)),
    "a conjugate": changed(complex=torch.ones(3, dtype=torch.complex64).mul(1j).conj()),
    "another part": moved_part,
    "a part of something larger": larger_whole,
    "a tensor more": changed(another=torch.ones(3)),
    "a tensor less": lambda named: {k: v for k, v in named.items() if k != "bias"},
    "another name": lambda named: {f"{name}.": one for name, one in named.items()},
    "names that have changed places": lambda named: dict(
        zip(named, [*list(named.values())[1:], named["weight"]], strict=True)
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_noticed(name: str) -> None:
    tables, named = Tables(), tensors()
    before = digests(named, tables)
    now = CHANGES[name](named)
    assert digests(now, tables) == digests(now)
    assert digests(now, tables) != before


def test_another_order_or_other_strides_change_nothing() -> None:
    tables, named = Tables(), tensors()
    before = digests(named, tables)
    turned = dict(reversed(named.items()))
    assert digests(turned, tables) == before
    assert list(digests(turned, tables)) == list(turned)
    weight = named["weight"]
    assert isinstance(weight, Tensor)
    assert digests({**named, "weight": weight.mT.contiguous().mT}, tables) == before


def test_tensors_that_are_only_elsewhere_or_hold_other_numbers_are_not_looked_into_again() -> None:
    tables = Tables()
    first, again, other = tensors(), tensors(), tensors()
    layout = tables.layout("model", first)
    assert tables.layout("model", again) is layout
    weight = other["weight"]
    assert isinstance(weight, Tensor)
    weight.zero_()
    assert tables.layout("model", other) is layout
    assert tables.layout("model", {**other, "weight": weight.mT}) is not layout


@given(st.lists(st.sampled_from(["model", "optimizer", "gradients"]), min_size=1, max_size=6))
def test_groups_do_not_disturb_each_other(order: list[str]) -> None:
    tables = Tables()
    for number, group in enumerate(order):
        named: Named = {"weight": torch.full((number % 3 + 1,), float(number))}
        assert digests(named, tables, group) == digests(named)


def test_a_run_that_learns_has_the_digests_of_tensors_that_nobody_has_seen() -> None:
    model, tables = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), Tables()
    optimizer = torch.optim.AdamW(model.parameters())
    seen = []
    for _ in range(3):
        model(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state: Named = dict(model.state_dict())
        for number, moments in enumerate(optimizer.state.values()):
            state |= {f"{key}/{number}": one for key, one in moments.items()}
        seen.append(digests(state, tables))
        assert seen[-1] == digests(state)
    assert all(seen[0][name] != seen[1][name] != seen[2][name] for name in seen[0])


def test_a_tensor_without_a_digest_is_refused_whatever_was_there_before() -> None:
    tables, named = Tables(), tensors()
    before = digests(named, tables)
    with pytest.raises(TypeError, match="sparse_coo tensor of torch.float32 has no digest"):
        digests({**named, "bias": torch.eye(2).to_sparse()}, tables)
    assert digests(named, tables) == before


def on_gpu(named: Named) -> Named:
    """Return whole tensors on a GPU, with the strides that they have."""
    return {key: one.cuda() for key, one in named.items() if isinstance(one, Tensor)}


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in CHANGES if "part" not in name])
def test_tables_that_stay_on_a_gpu_follow_the_tensors(name: str) -> None:
    tables = Tables()
    named: Named = {key: one for key, one in tensors().items() if isinstance(one, Tensor)}
    expected = digests(named)
    assert digests(on_gpu(named), tables) == expected
    layout = tables.layout("model", on_gpu(named))
    assert digests(on_gpu(named), tables) == expected
    assert tables.layout("model", on_gpu(named)) is layout
    now = CHANGES[name](named)
    assert digests(on_gpu(now), tables) == digests(now) != expected


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_a_repeated_digest_waits_once_and_sends_nothing_new() -> None:
    tables = Tables()
    named: Named = {str(n): torch.randn(1000 + n, device="cuda") for n in range(50)}
    expected = digests(named, tables)
    torch.cuda.synchronize()
    before = torch.cuda.memory_stats()["allocation.all.allocated"]
    sums = Sums(tables)
    torch.cuda.set_sync_debug_mode("error")
    try:
        sums.add("model", named)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    # Two sums of each, and of each program: the tables are there already.
    assert torch.cuda.memory_stats()["allocation.all.allocated"] - before <= 4
    assert sums.digests()["model"] == expected
