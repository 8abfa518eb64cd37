"""The Whisper-shaped model keeps the contract of models; its decoder remembers what it has said."""

from dataclasses import replace

import pytest
import torch

from asr_lab.models.base import DecodingOptions, EncoderOutput, select_state
from asr_lab.models.whisper import WhisperASRModel, WhisperConfig
from asr_lab.models.whisper.decoder import TextDecoder
from asr_lab.testing import ModelContract
from asr_lab.testing.inputs import collate, random_utterances
from asr_lab.utils.errors import UnknownNameError, UserError

# What is published counts a table of 1,500 encoder positions, which is computed here.
PUBLISHED = {
    "base": 72_593_920,
    "small": 241_734_912,
    "medium": 763_857_920,
    "large": 1_543_304_960,
}
PUBLISHED_EMBEDDINGS = 51_865
ENCODER_POSITIONS = 1_500
EXACT = 1e-10
SMALL = replace(WhisperConfig.tiny(), dim=16, heads=2, encoder_layers=1, vocab=9, dropout=0.0)


class TestWhisper(ModelContract):
    model = "whisper"


class TestWhisperAsPublished(ModelContract):
    model = "whisper"
    overrides = {"strides": (1, 2), "ctc_weight": 0.0, "encoder_layers": 2}


def parameters(config: WhisperConfig) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in WhisperASRModel(config).parameters())


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_size_has_the_published_number_of_parameters(preset: str) -> None:
    # The embedding has rows for start and end besides the vocabulary's.
    config = getattr(WhisperConfig, preset)()
    config = replace(config, vocab=PUBLISHED_EMBEDDINGS - 2, ctc_weight=0.0)
    count = parameters(config)
    assert count + ENCODER_POSITIONS * config.dim == PUBLISHED[preset]
    claims = " ".join(getattr(WhisperConfig, preset).__doc__.split())
    assert f"{count / 1e6:.2f} M parameters with its 51,865 embeddings" in claims
    assert f"the published {PUBLISHED[preset] / 1e6:.2f} M count" in claims


def test_tiny_has_the_parameters_that_it_claims() -> None:
    count = parameters(replace(WhisperConfig.tiny(), vocab=32))
    assert f"Return {count / 1e6:.2f} M parameters" in str(WhisperConfig.tiny.__doc__)


def encoded(model: WhisperASRModel) -> EncoderOutput:
    batch = collate(random_utterances(model.config, [64, 33, 97], dtype=torch.float64))
    return model.encoder(batch.features)


def small() -> tuple[WhisperASRModel, TextDecoder]:
    torch.manual_seed(0)
    model = WhisperASRModel(SMALL).double().eval()
    return model, model.decoder_network


def test_decoding_step_by_step_gives_the_scores_of_the_whole_text_at_once() -> None:
    model, decoder = small()
    output = encoded(model)
    tokens = torch.randint(9, (3, 7))
    tokens[:, 0] = decoder.start_id
    whole = decoder.logits(tokens, output).log_softmax(-1)
    state = None
    for place in range(7):
        scores, state = decoder.step(tokens[:, place], state, output)
        assert torch.allclose(scores, whole[:, place], rtol=EXACT, atol=EXACT)


def test_the_state_can_be_reordered_and_repeated() -> None:
    model, decoder = small()
    output, order = encoded(model), torch.tensor([2, 0, 2])
    start = torch.full((3,), decoder.start_id)
    _, state = decoder.step(start, None, output)
    expected, _ = decoder.step(torch.tensor([1, 2, 3]), state, output)
    chosen = EncoderOutput(
        replace(
            output.sequences,
            values=output.sequences.values[order],
            lengths=output.sequences.lengths[order],
        )
    )
    found, _ = decoder.step(torch.tensor([3, 1, 3]), select_state(state, order), chosen)
    assert torch.allclose(found, expected[order], rtol=EXACT)


def test_a_token_does_not_see_what_comes_later() -> None:
    model, decoder = small()
    output, tokens = encoded(model), torch.randint(9, (3, 6))
    before = decoder.logits(tokens, output)
    tokens[:, 4:] = (tokens[:, 4:] + 1) % 9
    after = decoder.logits(tokens, output)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])


def test_there_is_a_score_for_every_token_and_the_end_but_not_for_the_start() -> None:
    model, decoder = small()
    scores, _ = decoder.step(torch.full((3,), decoder.start_id), None, encoded(model))
    assert scores.shape == (3, SMALL.vocab + 1)
    assert decoder.end_id == SMALL.vocab
    assert decoder.start_id == SMALL.vocab + 1


def test_a_text_longer_than_the_decoder_holds_is_refused() -> None:
    model = WhisperASRModel(replace(SMALL, positions=5))
    batch = collate(random_utterances(SMALL, [64]))
    message = "the decoder holds 5 tokens, start included; got 6; raise --model.positions"
    with pytest.raises(UserError, match=message):
        model.loss(batch)


def test_without_a_weight_there_is_no_ctc_head() -> None:
    model = WhisperASRModel(replace(SMALL, ctc_weight=0.0))
    batch = collate(random_utterances(SMALL, [64]))
    assert set(model.decoders) == set(model.loss(batch)) == {"attention"}
    with pytest.raises(UnknownNameError, match="no decoder 'ctc'"):
        model.transcribe(batch, DecodingOptions(decoder="ctc"))


def test_the_weights_of_the_losses_sum_to_one() -> None:
    model, batch = WhisperASRModel(SMALL), collate(random_utterances(SMALL, [64, 33]))
    weights = {name: part.weight for name, part in model.loss(batch).items()}
    assert weights == {"attention": pytest.approx(0.7), "ctc": 0.3}


def test_the_attention_loss_counts_tokens_and_ends() -> None:
    model, batch = WhisperASRModel(SMALL), collate(random_utterances(SMALL, [64, 33]))
    assert model.loss_counts(batch) == {"attention": 5 + 1 + 3 + 1, "ctc": 2}


def test_tokens_without_lengths_are_all_real() -> None:
    model, _ = small()
    output, tokens = encoded(model), torch.randint(9, (3, 4))
    found = model.scores(output, tokens, None)["attention"]
    expected = model.scores(output, tokens, torch.full((3,), 4))["attention"]
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 100, "heads": 3}, "dim must be even and a multiple of the heads, 3; got 100"),
        ({"strides": (3,)}, "strides must each be 1 or 2"),
        ({"strides": ()}, "strides must each be 1 or 2"),
        ({"ctc_weight": 1.0}, "ctc-weight must be from 0 to below 1"),
        ({"smoothing": -1.0}, "smoothing must be from 0 to below 1"),
        ({"positions": 0}, "positions must be 1 or more"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        WhisperConfig.from_dict({**WhisperConfig.tiny().to_dict(), **changes})


def test_only_a_ctc_head_asks_for_room_for_every_token() -> None:
    assert WhisperConfig.tiny().uses_ctc
    assert not WhisperConfig(ctc_weight=0.0).uses_ctc
