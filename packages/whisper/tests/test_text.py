"""What the Whisper-shaped model writes: the search over its real decoder, and its losses."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.models.base import DecodingOptions, EncoderOutput, Sequences
from asr_lab.models.whisper import WhisperASRModel, WhisperConfig
from asr_lab.models.whisper.decoder import TextDecoder
from asr_lab.testing.inputs import collate, random_utterances
from asr_lab.utils.errors import UserError

EXACT = 1e-10
"""Rounding of some hundred additions in FP64."""
SINGLE = 1e-5
"""Rounding of a dozen additions in FP32, in which the search adds up its scores."""
VOCAB, MOST, MANY = 3, 3, 7
SMALL = replace(
    WhisperConfig.tiny(), dim=16, heads=2, encoder_layers=1, vocab=VOCAB, dropout=0.0, positions=8
)


def decided(seed: int, config: WhisperConfig = SMALL) -> WhisperASRModel:
    """Return a model in FP64 that prefers some tokens to others; a new one hardly does."""
    torch.manual_seed(seed)
    model = WhisperASRModel(config).double().eval()
    nn.init.normal_(model.decoder_network.embedding.weight)
    nn.init.normal_(model.decoder_network.positions)
    with torch.no_grad():  # an end that is seldom the best makes long texts
        model.decoder_network.embedding.weight[VOCAB] *= 0.1
    return model


def encoded(model: WhisperASRModel, frames: tuple[int, ...] = (64, 33, 97)) -> EncoderOutput:
    return model.encoder(
        collate(random_utterances(model.config, frames, dtype=torch.float64)).features
    )


def alone(output: EncoderOutput, row: int) -> EncoderOutput:
    """Return what was encoded of one utterance, without its batch mates and padding."""
    lengths = output.sequences.lengths[row : row + 1]
    return EncoderOutput(Sequences(output.sequences.values[row : row + 1, : int(lengths)], lengths))


def taught(decoder: TextDecoder, output: EncoderOutput, text: tuple[int, ...]) -> Tensor:
    """Return the log probabilities after the start and each token of a text, fed all at once."""
    fed = torch.tensor([[decoder.start_id, *text]])
    return decoder.logits(fed, output)[0].log_softmax(-1)


def log_probability(
    decoder: TextDecoder, output: EncoderOutput, text: tuple[int, ...], limit: int
) -> float:
    """Return that of a text and its end, or without the end if it fills the limit."""
    scores = taught(decoder, output, text)
    wanted = (*text, decoder.end_id)[:limit]
    return sum(scores[place, token].item() for place, token in enumerate(wanted))


@pytest.mark.parametrize("seed", [0, 1, 19])  # in 19 the order of the states decides
def test_a_beam_that_holds_everything_finds_the_most_probable_text(seed: int) -> None:
    model = decided(seed)
    output, decoder = encoded(model), model.decoder_network
    options = DecodingOptions(beam=VOCAB**MOST, max_tokens=MOST, length_penalty=0.0)
    with torch.no_grad():
        found = decode(decoder, output, options, VOCAB)
        for row, hypothesis in enumerate(found):
            scores = {
                text: log_probability(decoder, alone(output, row), text, MOST)
                for length in range(MOST + 1)
                for text in product(range(VOCAB), repeat=length)
            }
            best = max(scores, key=scores.__getitem__)
            assert hypothesis.tokens == best
            assert hypothesis.score == pytest.approx(scores[best], rel=SINGLE)


@pytest.mark.parametrize("seed", range(3))
def test_greedy_search_writes_what_the_whole_text_at_once_prefers(seed: int) -> None:
    model = decided(seed)
    output, decoder = encoded(model), model.decoder_network
    with torch.no_grad():
        found = decode(decoder, output, DecodingOptions(max_tokens=MANY), VOCAB)
        for row, hypothesis in enumerate(found):
            tokens = hypothesis.tokens
            best = taught(decoder, alone(output, row), tokens).argmax(-1).tolist()
            assert best[: len(tokens) + 1][:MANY] == [*tokens, decoder.end_id][:MANY]
            expected = log_probability(decoder, alone(output, row), tokens, MANY)
            assert hypothesis.score == pytest.approx(expected, rel=SINGLE)


def test_what_stands_behind_the_encoded_steps_changes_no_score() -> None:
    model = decided(0)
    output, tokens = encoded(model), torch.randint(VOCAB, (3, 5))
    sequences = output.sequences
    noisy = torch.where(sequences.mask()[..., None], sequences.values, 1e3)
    found = model.decoder_network.logits(tokens, EncoderOutput(replace(sequences, values=noisy)))
    assert torch.allclose(found, model.decoder_network.logits(tokens, output), rtol=EXACT)


def test_the_decoder_hears_the_utterance() -> None:
    model, tokens = decided(0), torch.zeros(1, 2, dtype=torch.int64)
    values = encoded(model, (64,)).sequences.values.detach().requires_grad_()
    output = EncoderOutput(Sequences(values, torch.tensor([values.shape[1]])))
    model.decoder_network.logits(tokens, output)[0, 1, 0].backward()
    assert values.grad is not None
    assert values.grad.abs().sum(-1).all()


def test_the_embedding_of_a_token_is_the_weight_of_its_score() -> None:
    decoder, output = decided(0).decoder_network, encoded(decided(0))
    tokens = torch.tensor([[decoder.start_id, 0]] * 3)
    with torch.no_grad():
        before = decoder.logits(tokens, output)
        decoder.embedding.weight[2] = -decoder.embedding.weight[2]
        decoder.embedding.weight[decoder.end_id] = 0
        after = decoder.logits(tokens, output)
    assert torch.equal(after[..., 2], -before[..., 2])
    assert not after[..., decoder.end_id].any()
    assert torch.equal(after[..., :2], before[..., :2])


def test_a_step_beyond_the_last_position_is_refused_and_the_last_is_not() -> None:
    model = decided(0, replace(SMALL, positions=4))
    decoder, output = model.decoder_network, encoded(model)
    state, tokens = None, torch.full((3,), decoder.start_id)
    for _ in range(4):
        _, state = decoder.step(tokens, state, output)
    with pytest.raises(UserError, match="the decoder holds 4 tokens, start included; got 5"):
        decoder.step(tokens, state, output)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_search_ends_where_the_decoder_is_full(beam: int) -> None:
    model = decided(0, replace(SMALL, positions=4))
    with torch.no_grad():
        model.decoder_network.norm.weight.zero_()  # so that the first token is always the best
        model.decoder_network.norm.bias.copy_(model.decoder_network.embedding.weight[0])
    batch = collate(random_utterances(SMALL, [160], dtype=torch.float64))
    (found,) = model.transcribe(batch, DecodingOptions(decoder="attention", beam=beam))
    assert found.tokens == (0, 0, 0, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_attention_loss_is_the_smoothed_cross_entropy_of_its_scores(smoothing: float) -> None:
    model = decided(0, replace(SMALL, smoothing=smoothing))
    batch = collate(random_utterances(SMALL, [64, 33], dtype=torch.float64), extra=1)
    scores = model.scores(model.encoder(batch.features), batch.tokens, batch.token_lengths)
    log_probs = scores["attention"]
    assert log_probs is not None
    expected = torch.zeros((), dtype=torch.float64)
    for row, length in enumerate(batch.token_lengths.tolist()):
        targets = [*batch.tokens[row, :length].tolist(), SMALL.vocab]
        for place, target in enumerate(targets):
            scored: Tensor = log_probs[row, place]
            expected -= (1 - smoothing) * scored[target] + smoothing * scored.mean()
    assert torch.allclose(model.loss(batch)["attention"].sum, expected, rtol=EXACT)
