"""The part of the models' contract that is about CUDA graphs."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from asr_lab.models.base import ASRModel, Batch, ModelConfig
from asr_lab.models.base.outputs import total_loss
from asr_lab.reproducibility.deterministic import deterministic
from asr_lab.reproducibility.seeding import scope
from asr_lab.testing.inputs import RandomUtterance, collate
from asr_lab.training import graphs

LENGTHS = ([97, 160, 64, 33], [128, 161, 90, 12], [150] * 9, [97, 158, 64, 33], [150] * 9)
"""Frames of the utterances of some batches; padded, they have two shapes."""


class GraphContract:
    """Steps that are captured are those that are not."""

    def build(self, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> ASRModel[ModelConfig]:
        """Return a model."""
        raise NotImplementedError

    def utterances(
        self, frames: Sequence[int], dtype: torch.dtype = torch.float32
    ) -> list[RandomUtterance]:
        """Return random utterances."""
        raise NotImplementedError

    def test_padding_to_few_shapes_changes_neither_loss_nor_gradients(self) -> None:
        """Utterances that are added count for nothing."""
        model, double = self.build(dtype=torch.float64), torch.float64
        for lengths in ([97, 160, 64, 33], [45] * 9):
            batch = collate(self.utterances(lengths, dtype=double))
            loss, expected = _gradients(model, batch)
            larger, found = _gradients(model, graphs.padded(batch))
            torch.testing.assert_close(larger, loss, rtol=1e-9, atol=1e-12)
            most = max(float(one.abs().max()) for one in expected.values())
            for name, one in expected.items():
                torch.testing.assert_close(found[name], one, rtol=1e-7, atol=1e-9 * most)

    @pytest.mark.gpu
    def test_a_cuda_graph_has_the_bits_of_plain_steps(self) -> None:
        """Gradients and losses of batches in turn, with dropout where the model has any."""
        if not (torch.cuda.is_available() and self.build().fits_cuda_graph):
            pytest.skip("needs a GPU, and a loss that fits into a CUDA graph")
        batches = [collate(self.utterances(one)).to("cuda") for one in LENGTHS]
        for dtype in (torch.float32, torch.bfloat16):
            with deterministic():
                plain, captured = (self._steps(batches, most, dtype) for most in (0, 9))
            for step, (expected, found) in enumerate(zip(plain, captured, strict=True)):
                assert found.keys() == expected.keys()
                for name, one in expected.items():
                    assert torch.equal(found[name], one), f"{name}, {dtype}, batch {step}"

    def _steps(
        self, batches: Sequence[Batch], most: int, dtype: torch.dtype
    ) -> list[dict[str, Tensor]]:
        """Return losses and gradients of every batch, with at most so many graphs."""
        model = self.build().cuda().train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.1
        weights = dict(model.named_parameters())

        def learn(batch: Batch, counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
            with torch.autocast("cuda", dtype, enabled=dtype is not torch.float32):
                parts = model.loss(batch)
                total = total_loss(parts, counts)
            total.backward()
            return {name: part.sum.detach() for name, part in parts.items()}

        for weight in weights.values():
            weight.grad = torch.zeros_like(weight)
        steps, found = graphs.Graphs(learn, most), []
        for number, batch in enumerate(batches):
            with scope(0, "dropout", number, device="cuda"):
                told = dict(steps(batch, model.loss_counts(batch)))
            for name, weight in weights.items():
                assert weight.grad is not None
                told[f"gradient of {name}"] = weight.grad.clone()
                weight.grad.zero_()
            found.append(told)
        assert steps.captured == min(most, 2)
        return found


def _gradients(model: ASRModel[ModelConfig], batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    loss = total_loss(model.loss(batch), model.loss_counts(batch))
    loss.backward()
    found = {n: one.grad.clone() for n, one in model.named_parameters() if one.grad is not None}
    return loss.detach(), found
