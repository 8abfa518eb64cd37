"""Evaluate a model with random weights from the command line: do its decoders obey every flag?"""

import random
from pathlib import Path
from typing import TypeVar

from asr_lab.checkpoints import PortableModel, write_portable
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.model import ASRModel
from asr_lab.testing.speech import write_corpus
from asr_lab.tokenizers import CharacterTokenizer

C = TypeVar("C", bound=ModelConfig)
LETTERS = " abcdefgh"
"""What the tokenizer of such a model writes; its configuration has as many tokens."""
UTTERANCES = 3


def write_untrained(path: Path, name: str, model: ASRModel[C]) -> None:
    """Write a checkpoint of a model as it is; `name` is its qualified name."""
    tokenizer = CharacterTokenizer(LETTERS)
    assert model.config.vocab == tokenizer.size, "a model here has as many tokens as letters"
    portable = PortableModel(
        model=name,
        distribution=f"asr-lab-{name.split('/')[0]}",
        distribution_version="?",
        config=model.config.to_dict(),
        tokenizer_kind=tokenizer.kind,
        tokenizer=tokenizer.to_bytes(),
        tensors=model.state_dict(),
        features=model.config.features,
    )
    write_portable(path, portable)


def untrained_words(model: ASRModel[C], name: str, folder: Path, flags: str) -> list[str]:
    """Return a command that evaluates a model on three utterances with more flags.

    `name` is its qualified name; checkpoint and corpus are written into `folder`, once.
    """
    checkpoint, data = folder / "untrained.pt", folder / "data"
    if not checkpoint.exists():
        draw = random.Random(0)
        write_corpus(data, [" ".join(draw.choices("abcdefgh", k=3)) for _ in range(UTTERANCES)])
        write_untrained(checkpoint, name, model)
    where = f"--checkpoint {checkpoint} --dataset manifest:{data}/manifest.jsonl"
    return f"evaluate {where} --device cpu --workers 0 {flags}".split()
