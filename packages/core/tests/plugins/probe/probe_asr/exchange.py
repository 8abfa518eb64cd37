"""A probe from and to one file of JSON, as if another system had it so."""

import json
from pathlib import Path

import torch

from asr_lab.tokenizers import Tokenizer, load_tokenizer
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_file
from probe_asr.config import ProbeConfig
from probe_asr.model import ProbeModel


def read_probe(path: Path) -> tuple[ProbeModel, Tokenizer]:
    """Read what `write_probe` wrote; raise UserError for anything else."""
    try:
        content = json.loads(path.read_text("utf-8"))
        model = ProbeModel(ProbeConfig.from_dict(content["config"]))
        tensors = {name: torch.tensor(values) for name, values in content["tensors"].items()}
        model.load_state_dict(tensors)
        tokenizer = load_tokenizer(content["kind"], bytes.fromhex(content["tokenizer"]))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} holds no probe: {type(error).__name__}; write it again") from error
    if tokenizer.size != model.config.vocab:
        raise UserError(
            f"{path} has {tokenizer.size} tokens, but the model scores {model.config.vocab}; "
            "use the tokenizer that belongs to the weights"
        )
    return model, tokenizer


def write_probe(model: ProbeModel, tokenizer: Tokenizer, path: Path) -> None:
    """Write all of a model in one file; refuse one that is poisoned."""
    if model.config.poison:
        raise UserError(f"the other system has no place for poison {model.config.poison}")
    content = {
        "config": model.config.to_dict(),
        "kind": tokenizer.kind,
        "tokenizer": tokenizer.to_bytes().hex(),
        "tensors": {name: tensor.tolist() for name, tensor in model.state_dict().items()},
    }
    write_file(path, json.dumps(content))


def write_names(model: ProbeModel, tokenizer: Tokenizer, path: Path) -> None:
    """Write the names of the weights alone, a file each, into a folder."""
    path.mkdir(parents=True, exist_ok=True)
    for name in model.state_dict():
        write_file(path / name, "")
