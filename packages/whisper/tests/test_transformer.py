"""Encoder and decoder are the pre-norm transformers of PyTorch, with the same weights."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from asr_lab.layers.masking import length_mask
from asr_lab.layers.positions import sinusoid_table
from asr_lab.models.base import EncoderOutput, Sequences
from asr_lab.models.whisper import WhisperASRModel, WhisperConfig
from asr_lab.models.whisper.decoder import TextDecoder
from asr_lab.models.whisper.layers import Attention, DecoderBlock, EncoderBlock
from asr_lab.models.whisper.model import WhisperEncoder
from asr_lab.testing.inputs import collate, random_utterances

EXACT = 1e-10
"""Rounding of some hundred additions in FP64."""
SMALL = replace(
    WhisperConfig.tiny(), dim=16, heads=2, encoder_layers=2, decoder_layers=2, vocab=9, dropout=0.0
)
FRAMES = (33, 97, 5)


def copy_attention(source: Attention, target: nn.MultiheadAttention) -> None:
    """Copy weights; the keys of the target get a bias of zero."""
    key, query, value = source.key, source.query, source.value
    assert target.in_proj_weight is not None
    assert target.in_proj_bias is not None
    target.in_proj_weight.data = torch.cat([query.weight, key.weight, value.weight])
    target.in_proj_bias.data = torch.cat([query.bias, torch.zeros_like(query.bias), value.bias])
    target.out_proj.load_state_dict(source.out.state_dict())


def encoder_layer(block: EncoderBlock, config: WhisperConfig) -> nn.TransformerEncoderLayer:
    """Return PyTorch's layer with the weights of `block`; in train mode, where it has one path."""
    layer = nn.TransformerEncoderLayer(
        config.dim,
        config.heads,
        config.feedforward * config.dim,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    ).double()
    copy_attention(block.attention, layer.self_attn)
    layer.norm1.load_state_dict(block.attention_norm.state_dict())
    layer.norm2.load_state_dict(block.feedforward_norm.state_dict())
    layer.linear1.load_state_dict(block.feedforward.inner.state_dict())
    layer.linear2.load_state_dict(block.feedforward.outer.state_dict())
    return layer


def decoder_layer(block: DecoderBlock, config: WhisperConfig) -> nn.TransformerDecoderLayer:
    """Return PyTorch's layer with the weights of `block`."""
    layer = nn.TransformerDecoderLayer(
        config.dim,
        config.heads,
        config.feedforward * config.dim,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    ).double()
    copy_attention(block.own, layer.self_attn)
    copy_attention(block.cross, layer.multihead_attn)
    layer.norm1.load_state_dict(block.own_norm.state_dict())
    layer.norm2.load_state_dict(block.cross_norm.state_dict())
    layer.norm3.load_state_dict(block.feedforward_norm.state_dict())
    layer.linear1.load_state_dict(block.feedforward.inner.state_dict())
    layer.linear2.load_state_dict(block.feedforward.outer.state_dict())
    return layer


def disturbed(module: nn.Module) -> None:
    """Give norms and biases values that differ, so that none can stand for another."""
    torch.manual_seed(1)
    for weight in module.parameters():
        weight.data += 0.3 * torch.randn_like(weight)


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=EXACT, atol=EXACT)


def test_the_encoder_is_the_transformer_of_pytorch_behind_its_stem() -> None:
    encoder = WhisperEncoder(SMALL).double().eval()
    disturbed(encoder)
    features = collate(random_utterances(SMALL, FRAMES, dtype=torch.float64)).features
    with torch.no_grad():
        values, lengths = encoder.stem(features.values, features.lengths)
        mask = length_mask(lengths, values.shape[1])
        values = values + sinusoid_table(values.shape[1], SMALL.dim, values.device)
        for block in encoder.blocks:
            assert isinstance(block, EncoderBlock)
            values = encoder_layer(block, SMALL)(values, src_key_padding_mask=~mask)
        found = encoder(features).sequences
        assert close(found.values[mask], encoder.norm(values)[mask])
        assert not found.values[~mask].any()


def test_the_decoder_is_the_transformer_of_pytorch_between_its_embeddings() -> None:
    decoder = TextDecoder(SMALL).double().eval()
    disturbed(decoder)
    encoded = torch.randn(3, 6, SMALL.dim).double()
    lengths, tokens = torch.tensor([6, 3, 1]), torch.randint(9, (3, 5))
    padding = ~length_mask(lengths, 6)
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    with torch.no_grad():
        values = decoder.embedding.weight[tokens] + decoder.positions[:5]
        for block in decoder.blocks:
            assert isinstance(block, DecoderBlock)
            layer = decoder_layer(block, SMALL)
            values = layer(values, encoded, tgt_mask=causal, memory_key_padding_mask=padding)
        expected = decoder.norm(values) @ decoder.embedding.weight[: SMALL.vocab + 1].T
        found = decoder.logits(tokens, EncoderOutput(Sequences(encoded, lengths)))
    assert close(found, expected)


def test_dropout_acts_in_train_mode_only_and_in_both_halves() -> None:
    torch.manual_seed(0)
    model = WhisperASRModel(replace(SMALL, dropout=0.5))
    features = collate(random_utterances(SMALL, [64])).features
    tokens = torch.randint(9, (1, 5))
    output = model.eval().encoder(features)

    def repeats() -> tuple[bool, bool]:
        encoded = [model.encoder(features).sequences.values for _ in range(2)]
        scored = [model.decoder_network.logits(tokens, output) for _ in range(2)]
        return torch.equal(*encoded), torch.equal(*scored)

    assert repeats() == (True, True)
    model.train()
    assert repeats() == (False, False)


@pytest.mark.parametrize("preset", ["tiny", "base", "small", "medium", "large"])
def test_steps_is_the_length_that_the_encoder_of_a_preset_gives(preset: str) -> None:
    config = replace(getattr(WhisperConfig, preset)(), encoder_layers=1)
    with torch.device("meta"):
        encoder = WhisperEncoder(config)
    for frames in (*range(1, 10), 1000):
        features = collate(random_utterances(config, [frames])).features.to("meta")
        assert encoder(features).sequences.values.shape == (1, config.steps(frames), config.dim)
