"""`asr-lab transcribe` with a decoder that does not know when its tokens start."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_lab.checkpoints import PortableModel, write_portable
from asr_lab.cli import main
from asr_lab.models.whisper import WhisperASRModel, WhisperConfig
from asr_lab.tokenizers import CharacterTokenizer


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Return a command that transcribes 8 s of noise by an untrained model, in three chunks."""
    tokenizer = CharacterTokenizer("abc d")
    config = replace(WhisperConfig.tiny(), vocab=tokenizer.size, encoder_layers=1, dim=32)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = WhisperASRModel(config)
    portable = PortableModel(
        model="whisper/whisper",
        distribution="asr-lab-whisper",
        distribution_version="?",
        config=config.to_dict(),
        tokenizer_kind="characters",
        tokenizer=tokenizer.to_bytes(),
        tensors=model.state_dict(),
        features=config.features,
    )
    write_portable(tmp_path / "best.pt", portable)
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * 16000)
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    base = ["transcribe", str(tmp_path / "a.wav"), "--checkpoint", str(tmp_path / "best.pt")]
    return [*base, "--device", "cpu", "--max-tokens", "20", "--chunk-seconds", "4"]


def test_ctm_is_refused_in_one_line_that_says_what_works(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--format", "ctm"]) == 2
    printed = capsys.readouterr()
    line = printed.err.splitlines()[-1]
    assert printed.out == "" and "the decoder 'attention' does not give" in line
    assert "use one of json, srt, txt, vtt, or another --decoder" in line
    assert main([*words, "--format", "ctm", "--decoder", "ctc"]) == 0


def test_subtitles_have_one_cue_for_each_chunk(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["words"] == [] and found["text"]
    assert 1 <= len(found["segments"]) <= 3
    assert " ".join(segment["text"] for segment in found["segments"]) == found["text"]
    assert main([*words, "--format", "vtt"]) == 0
    cues = capsys.readouterr().out.count(" --> ")
    assert cues == len(found["segments"])
