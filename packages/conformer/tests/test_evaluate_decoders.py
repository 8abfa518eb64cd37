"""Every search of a conformer is reached from `asr-lab evaluate`, and stands in the result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from asr_lab.cli import main
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.testing.evaluating import LETTERS, UTTERANCES, untrained_words


@pytest.mark.parametrize(
    ("head", "decoder"), [("rnnt+ctc", "rnnt"), ("rnnt+ctc", "ctc"), ("tdt", "tdt"), ("ctc", "")]
)
def test_greedy_and_beam_search_are_flags_and_recorded(
    head: Literal["rnnt+ctc", "tdt", "ctc"], decoder: str, tmp_path: Path
) -> None:
    config = replace(ConformerConfig.tiny(), vocab=len(LETTERS), layers=1, dim=32, head=head)
    torch.manual_seed(0)
    model = ConformerASRModel(config)
    chosen = f"--decoder {decoder}" if decoder else ""
    for beam in (1, 3):
        flags = f"{chosen} --beam {beam} --max-symbols 4 --token-bonus 0.25"
        flags += f" --output {tmp_path}/out-{beam}"
        words = untrained_words(model, "conformer/conformer", tmp_path, flags)
        assert main(words) == 0
        result = json.loads((tmp_path / f"out-{beam}" / "result.json").read_text())
        told = result["decoding"]
        assert result["utterances"] == UTTERANCES
        assert (told["decoder"], told["beam"]) == (decoder or "ctc", beam)
        assert (told["max_symbols"], told["token_bonus"]) == (4, 0.25)
