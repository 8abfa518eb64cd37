"""The slow CTC loss against the sum over all paths that collapse to the text."""

from itertools import groupby, product

import pytest
import torch
from torch import Tensor

from asr_lab.losses.ctc_reference import ctc_reference

EXACT = 1e-12
SCORES = 3


def by_enumeration(scores: Tensor, said: list[int], blank_id: int) -> float:
    """Sum the probabilities of all paths that say the tokens."""
    chances = scores.softmax(-1)
    total = 0.0
    for path in product(range(SCORES), repeat=len(scores)):
        if [label for label, _ in groupby(path) if label != blank_id] == said:
            total += chances[range(len(scores)), list(path)].prod().item() if path else 1.0
    return -torch.tensor(total, dtype=torch.float64).log().item()


@pytest.mark.parametrize("blank_id", range(SCORES))
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_the_reference_is_the_sum_over_all_paths(steps: int, blank_id: int) -> None:
    generator = torch.Generator().manual_seed(steps + 10 * blank_id)
    said = [token for token in range(SCORES) if token != blank_id]
    texts = [[], said[:1], said, said[:1] * 2, said[:1] * 3]
    scores = 2 * torch.randn(len(texts), 5, SCORES, generator=generator, dtype=torch.float64)
    counts = torch.tensor([len(text) for text in texts])
    tokens = torch.tensor([text + [99] * (3 - len(text)) for text in texts])
    lengths = torch.full_like(counts, steps)
    found = ctc_reference(scores, lengths, tokens, counts, blank_id=blank_id)
    for row, text in enumerate(texts):
        expected = by_enumeration(scores[row, :steps], text, blank_id)
        assert found[row].item() == pytest.approx(expected, rel=EXACT)
