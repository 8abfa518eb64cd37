"""Models of transformers' Parakeet classes at the large size, and ours with the same weights."""

from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
import transformers
from torch import Tensor

from asr_lab.models.base import Batch, Sequences
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.models.conformer.interop_names import COUNTER, to_ours

VOCAB, MELS, FRAME_SECONDS = 1024, 80, 0.01
Kind: TypeAlias = Literal["ctc", "rnnt", "tdt"]
Peer: TypeAlias = Any
"""A model of transformers, which declares no types that a checker could use."""


def peer(kind: Kind, *, dropout: float, **sizes: int) -> Peer:
    """Return ParakeetForCTC, ForRNNT or ForTDT of the large size, without layer dropping."""
    encoder: dict[str, Any] = {
        "hidden_size": 512,
        "num_hidden_layers": 17,
        "num_attention_heads": 8,
        "intermediate_size": 2048,
        "conv_kernel_size": 9,
        "subsampling_conv_channels": 256,
        "num_mel_bins": MELS,
        "dropout": dropout,
        "attention_dropout": dropout,
        "activation_dropout": dropout,
        "layerdrop": 0.0,
        **sizes,
    }
    settings: dict[str, Any] = {"vocab_size": VOCAB + 1, "encoder_config": encoder}
    settings["pad_token_id"] = VOCAB
    if kind == "ctc":
        settings["ctc_loss_reduction"] = "sum"
    else:
        settings |= {"blank_token_id": VOCAB, "decoder_hidden_size": 640, "num_decoder_layers": 1}
    config = getattr(transformers, f"Parakeet{kind.upper()}Config")(**settings)
    config.encoder_config._attn_implementation = "sdpa"
    model = getattr(transformers, f"ParakeetFor{kind.upper()}")(config)
    _randomise(model)
    return model


@torch.no_grad()
def _randomise(model: torch.nn.Module) -> None:
    """Give statistics of batch norm and biases of positions values; fresh ones hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif name.endswith(("running_mean", "bias_u", "bias_v")):
            tensor.copy_(0.3 * noise)


def ours(theirs: Peer, kind: Kind, *, dropout: float) -> ConformerASRModel:
    """Return our model with the same weights."""
    encoder = theirs.config.encoder_config
    config = replace(
        ConformerConfig.large(),
        dim=encoder.hidden_size,
        layers=encoder.num_hidden_layers,
        heads=encoder.num_attention_heads,
        subsampling_channels=encoder.subsampling_conv_channels,
        feedforward=encoder.intermediate_size // encoder.hidden_size,
        head=kind,
        dropout=dropout,
        head_dropout=0.0,
        vocab=VOCAB,
        scale_input=encoder.scale_input,
    )
    model = ConformerASRModel(config)
    tensors = {name: one for name, one in theirs.state_dict().items() if COUNTER not in name}
    model.load_state_dict(to_ours(config, tensors, "parakeet", range(VOCAB + 1), "the peer"))
    return model


def features(
    lengths: Tensor, tokens: int, seed: int, device: str
) -> tuple[Batch, dict[str, Tensor]]:
    """Return random features of so many frames and random texts, as ours and as theirs."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), int(lengths.max()), MELS, generator=generator)
    mask = torch.arange(values.shape[1]) < lengths[:, None]
    values = (values * mask[..., None]).to(device)
    texts = torch.randint(VOCAB, (len(lengths), tokens), generator=generator)
    counts = (tokens * lengths / lengths.max()).long().clamp(min=1)
    labels = texts.masked_fill(torch.arange(tokens) >= counts[:, None], VOCAB)
    batch = Batch(features=Sequences(values, lengths), tokens=texts, token_lengths=counts)
    theirs = {"input_features": values, "attention_mask": mask, "labels": labels}
    return batch.to(device), {name: one.to(device) for name, one in theirs.items()}
