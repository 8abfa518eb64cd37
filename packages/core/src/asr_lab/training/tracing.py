"""Digests of what every operation of a training step takes and gives, and in which module."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asr_lab.reproducibility.hash import tensor_sha256
from asr_lab.reproducibility.sums import Sums

UNWRITTEN = ("empty", "new_empty", "resize")
"""Operations whose results hold whatever was in memory."""
PARTLY = {"aten::_ctc_loss": 1}
"""Operations that leave a part of a result as memory was, and which result: nothing reads it."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operation."""

    op: str
    """Name as torch writes it: `aten.addmm.default`."""
    module: str
    """Dotted name of the module it ran in, or whose gradient it computed."""
    phase: str
    """`forward`, `backward` or `optimizer`; empty outside of them."""
    taken: tuple[str, ...]
    """Digests of its tensors before."""
    given: tuple[str, ...]
    """Digests of its tensors after: results, and what it changed in place."""


class Trace(TorchDispatchMode):
    """Notes every operation inside the block, in order."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Know the names of a model's modules."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self._names = {id(module): name for name, module in model.named_modules()}
        self._optimizer = optimizer
        self._stack: list[str] = []
        self._backward: str | None = None
        self._labelled: set[int] = set()
        self._nodes: list[object] = []
        self._updating = False
        # By the address of their memory, which is theirs as long as they are kept here.
        self._unwritten: dict[int, Tensor] = {}
        self._partly: dict[int, Tensor] = {}

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Note one operation."""
        named = dict(kwargs or {})
        taken = [one for one in tree_leaves((args, named)) if isinstance(one, Tensor)]
        before = self._digests(taken)
        result = func(*args, **named)
        given = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        changed = taken if func._schema.is_mutable else []
        unwritten = func._schema.name.partition("::")[2].lstrip("_").startswith(UNWRITTEN)
        if (partly := PARTLY.get(func._schema.name)) is not None:
            self._partly[_memory(given[partly])] = given[partly]
        for one in changed:
            self._unwritten.pop(_memory(one), None)
        self._unwritten.update({_memory(one): one for one in given} if unwritten else {})
        after = self._digests([*given, *changed])
        module, phase = self._where()
        call = Call(op=str(func), module=module, phase=phase, taken=before, given=after)
        self.calls.append(call)
        return result

    def _digests(self, tensors: Sequence[Tensor]) -> tuple[str, ...]:
        """Return a digest for each tensor; none for one without bits that mean something."""
        meaningful = [
            one
            for one in tensors
            if one.layout == torch.strided
            and _memory(one) not in self._partly
            and _memory(one) not in self._unwritten
        ]
        if all(one.device.type == "cpu" for one in meaningful):  # small ones sooner than sums
            return tuple(map(tensor_sha256, meaningful))
        sums = Sums()
        sums.add("", {str(at): one for at, one in enumerate(meaningful)})
        return tuple(sums.digests().get("", {}).values())

    def _where(self) -> tuple[str, str]:
        if self._updating:
            return "", "optimizer"
        if self._backward is not None:
            return self._backward, "backward"
        return (self._stack[-1], "forward") if self._stack else ("", "")

    @contextmanager
    def running(self) -> Iterator["Trace"]:
        """Note operations, and follow the modules they run in."""
        with ExitStack() as stack:
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
                self._optimizer.register_step_pre_hook(self._update),
                self._optimizer.register_step_post_hook(self._updated),
            ):
                stack.callback(handle.remove)
            stack.enter_context(self)
            yield self

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._backward = None  # a step has several forward passes, each with its backward
        outer = self._stack[-1] if self._stack else ""
        self._stack.append(self._names.get(id(module), outer))

    def _leave(self, module: nn.Module, inputs: object, outputs: object) -> None:
        name = self._stack.pop()
        found = [one.grad_fn for one in tree_leaves(_fields(outputs)) if isinstance(one, Tensor)]
        left = [node for node in found if node is not None]
        while left:
            node = left.pop()
            if id(node) in self._labelled:
                continue
            self._labelled.add(id(node))
            self._nodes.append(node)  # as long as it lives, nothing else has its id
            node.register_prehook(self._entering(name))
            node.register_hook(self._left)
            left += [after for after, _ in node.next_functions if after is not None]

    def _entering(self, name: str) -> Callable[[object], None]:
        def enter(gradients: object) -> None:
            self._backward = name

        return enter

    def _left(self, inputs: object, outputs: object) -> None:
        self._backward = ""

    def _update(self, *_: object) -> None:
        self._updating = True

    def _updated(self, *_: object) -> None:
        self._updating, self._backward = False, None


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided else -1


def _fields(outputs: object) -> object:
    """Return what a module gave as something that torch can look into."""
    names = getattr(outputs, "__dataclass_fields__", None)
    if names is not None:
        return [_fields(getattr(outputs, name)) for name in names]
    if isinstance(outputs, Mapping):
        return [_fields(value) for value in outputs.values()]
    if isinstance(outputs, list | tuple):
        return [_fields(value) for value in outputs]
    return outputs


@dataclass(frozen=True, kw_only=True)
class Parting:
    """The first operation in which two traces differ."""

    module: str
    phase: str
    op: str
    number: int
    """Which call of that operation in the step, from 1."""
    what: str
    """`result`, `input`, `operation` where the two do different things, or `unstable`."""

    def describe(self) -> str:
        """Return it in one line."""
        where = f"module {self.module}" if self.module else "outside of any module"
        call = f"{where}, op {self.op}, call {self.number}{f', {self.phase}' if self.phase else ''}"
        told = {
            "result": "equal inputs, different results",
            "input": "its inputs differ, and no operation made them so",
            "operation": "the other run does something else here",
            "unstable": "it gives other bits when it is repeated, in one and the same run",
        }
        return f"{call}: {told[self.what]}"


def parting(
    first: Sequence[Call], second: Sequence[Call], again: Sequence[Call] | None = None
) -> Parting | None:
    """Return the first operation in which two traces differ; None if none does.

    `again` is the first trace repeated: an operation that differs from itself is told as such.
    """
    at = _first_difference(first, second)
    itself = None if again is None else _first_difference(first, again)
    if itself is not None and (at is None or itself <= at):
        return _described(first, again or (), itself, "unstable")
    return None if at is None else _described(first, second, at)


def _first_difference(first: Sequence[Call], second: Sequence[Call]) -> int | None:
    pairs = enumerate(zip(first, second, strict=False))
    shorter = min(len(first), len(second))
    left = None if len(first) == len(second) else shorter
    return next((at for at, (here, there) in pairs if here != there), left)


def _described(first: Sequence[Call], second: Sequence[Call], at: int, what: str = "") -> Parting:
    """Say what differs in a call of two traces."""
    longer = first if at < len(first) else second
    here, there = longer[at], (second if longer is first else first)[at : at + 1]
    if not what:
        same = [(c.op, c.module, c.phase) for c in there] == [(here.op, here.module, here.phase)]
        given = "result" if there and here.taken == there[0].taken else "input"
        what = given if same else "operation"
    number = sum(call.op == here.op for call in longer[: at + 1])
    return Parting(module=here.module, phase=here.phase, op=here.op, number=number, what=what)
