"""The proof that a model can be replayed finds what cannot be."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr_lab.layers.ctc_model import CTCModel
from asr_lab.models.base import Batch, LossParts
from asr_lab.testing.replays import replays
from asr_lab.training.learner import Learner


def test_the_model_in_miniature_can_be_replayed(probe: Path, tmp_path: Path) -> None:
    found = replays("probe", "fp32", tmp_path)
    assert [(one.compared, one.equal_until, one.differs_at) for one in found] == [(3, 3, None)] * 2


def on_call(number: int, change: Callable[[Tensor], Tensor]) -> Callable[..., LossParts]:
    """Return a loss that is another at one call."""
    loss, calls = CTCModel.loss, list[int]()

    def disturbed(self: CTCModel, batch: Batch) -> LossParts:  # type: ignore[type-arg]
        calls.append(1)
        part = loss(self, batch)["ctc"]
        if len(calls) != number:
            return {"ctc": part}
        return {"ctc": type(part)(sum=change(part.sum), count=part.count, weight=part.weight)}

    return disturbed


def test_an_operation_that_rounds_otherwise_once_is_found_in_its_step(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two micro-batches a step: the eighth call is in the first step of the first replay.
    disturbed = on_call(8, lambda total: total * (1 + 2.0**-23))
    monkeypatch.setattr(CTCModel, "loss", disturbed)
    first, second = replays("probe", "fp32", tmp_path)
    assert (first.differs_at, first.compared) == (1, 1)
    assert {"loss", "gradients", "model"} <= set(first.different) and "data" not in first.different
    assert (second.differs_at, second.compared) == (None, 3)


def test_noise_from_a_generator_that_goes_on_is_found(
    probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, step = torch.Generator().manual_seed(0), Learner.step

    def noisy(one: Learner, *arguments: object) -> object:
        with torch.no_grad():
            next(one.unwrapped.parameters()).add_(1e-4 * torch.rand((), generator=draw))
        return step(one, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", noisy)
    assert [one.differs_at for one in replays("probe", "bf16", tmp_path)] == [1, 1]
