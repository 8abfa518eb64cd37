"""Every search of a state space model is reached from `asr-lab evaluate`, and recorded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr_lab.cli import main
from asr_lab.models.ssm import SSMASRModel, SSMConfig
from asr_lab.testing.evaluating import LETTERS, UTTERANCES, untrained_words


@pytest.mark.parametrize("decoder", ["ctc", "rnnt"])
def test_greedy_and_beam_search_are_flags_and_recorded(decoder: str, tmp_path: Path) -> None:
    config = replace(SSMConfig.tiny(), vocab=len(LETTERS), layers=1, head="rnnt+ctc")
    torch.manual_seed(0)
    model = SSMASRModel(config)
    for beam in (1, 3):
        flags = f"--output {tmp_path}/out-{beam} --decoder {decoder} --beam {beam} --max-symbols 4"
        words = untrained_words(model, "ssm/ssm", tmp_path, flags)
        assert main(words) == 0
        result = json.loads((tmp_path / f"out-{beam}" / "result.json").read_text())
        told = result["decoding"]
        assert result["utterances"] == UTTERANCES
        assert (told["decoder"], told["beam"], told["max_symbols"]) == (decoder, beam, 4)
