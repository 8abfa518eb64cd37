"""Every search of a Whisper is reached from `asr-lab evaluate`, and stands in the result."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr_lab.cli import main
from asr_lab.models.whisper import WhisperASRModel, WhisperConfig
from asr_lab.testing.evaluating import LETTERS, UTTERANCES, untrained_words


@pytest.mark.parametrize("decoder", ["attention", "ctc", ""])
def test_greedy_and_beam_search_are_flags_and_recorded(decoder: str, tmp_path: Path) -> None:
    config = replace(
        WhisperConfig.tiny(), vocab=len(LETTERS), dim=32, encoder_layers=1, decoder_layers=1
    )
    torch.manual_seed(0)
    model = WhisperASRModel(config)
    chosen = f"--decoder {decoder}" if decoder else ""
    for beam in (1, 3):
        flags = f"{chosen} --beam {beam} --max-tokens 12 --length-penalty 0.3"
        flags += f" --output {tmp_path}/out-{beam}"
        words = untrained_words(model, "whisper/whisper", tmp_path, flags)
        assert main(words) == 0
        result = json.loads((tmp_path / f"out-{beam}" / "result.json").read_text())
        told = result["decoding"]
        assert result["utterances"] == UTTERANCES
        assert (told["decoder"], told["beam"]) == (decoder or "attention", beam)
        assert (told["max_tokens"], told["length_penalty"]) == (12, 0.3)
