"""Models of transformers' Parakeet classes mean the same here, and come back as they were."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from safetensors.torch import load_file
from sentencepiece import SentencePieceTrainer
from torch import Tensor

from asr_lab.audio.features import features as compute
from asr_lab.audio.recipes import recipe
from asr_lab.models.base import Batch, Sequences
from asr_lab.models.conformer import ConformerASRModel
from asr_lab.models.conformer.interop import read_parakeet, write_parakeet
from asr_lab.models.conformer.interop_names import to_theirs
from asr_lab.testing.speech import tone_speech
from asr_lab.tokenizers import BPETokenizer

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, on import and on saving
TOLERANCE = 1e-4
"""Of FP32 sums in another order, relative to values around 1."""
KINDS = ("ctc", "rnnt", "tdt")
FRAMES = {"odd": (83, 64, 41), "even": (96, 57, 40)}
"""By the length of the longest, which the others are padded to."""
PAD = 4
"""A token that no text here has."""
Peer: TypeAlias = Any
"""A model of transformers, which declares no types that a checker could use."""
TEXTS = ["the cat sat on the mat", "a dog ate the bread", "one two three four five"] * 3
VOCAB = 28
MELS = 16
BLANK_NAMES = {"ctc": "<pad>", "rnnt": "<blank>", "tdt": "<blank>"}
ENCODER: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 48,
    "conv_kernel_size": 5,
    "subsampling_conv_channels": 8,
    "num_mel_bins": MELS,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "layerdrop": 0.0,
}


@cache
def sentencepiece_model() -> bytes:
    """Return a tokenizer as NeMo trains them."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB,
        hard_vocab_limit=False,
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    return model.getvalue()


def build(
    kind: str,
    *,
    blank_id: int = VOCAB,
    bias: bool = True,
    scale: bool = True,
    pad_id: int | None = None,
) -> Peer:
    """Return a random model of ParakeetForCTC, ForRNNT or ForTDT in eval mode."""
    encoder = {**ENCODER, "attention_bias": bias, "convolution_bias": bias, "scale_input": scale}
    settings: dict[str, Any] = {"vocab_size": VOCAB + 1, "encoder_config": encoder}
    if kind == "ctc":
        settings |= {"pad_token_id": blank_id, "ctc_loss_reduction": "sum"}
    else:
        padding = blank_id if pad_id is None else pad_id
        settings |= {"blank_token_id": blank_id, "pad_token_id": padding}
        settings |= {"decoder_hidden_size": 20, "num_decoder_layers": 2}
    config = getattr(transformers, f"Parakeet{kind.upper()}Config")(**settings)
    model = getattr(transformers, f"ParakeetFor{kind.upper()}")(config)
    randomise(model, seed=3)
    return model.eval()


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> None:
    """Give every weight and statistic a value of its own; fresh ones hide wrong mappings."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif name.endswith("running_mean") or "bias" in name:
            tensor.copy_(0.3 * noise)
        elif "norm" in name and name.endswith("weight"):
            tensor.copy_(1 + 0.2 * noise)
        elif tensor.is_floating_point():
            fan = tensor[0].numel() if "embedding" not in name else 1
            tensor.copy_(1.2 * fan**-0.5 * noise)


def their_extractor(mels: int) -> Peer:
    """Return what computes their features; None where that needs librosa, as before 5.23."""
    try:
        return transformers.ParakeetFeatureExtractor(feature_size=mels)
    except ImportError:
        return None


def save(model: Peer, kind: str, folder: Path) -> None:
    """Write the model with tokenizer and processor, as transformers does."""
    from transformers.convert_slow_tokenizer import ParakeetConverter

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sentencepiece.model"
    file.write_bytes(sentencepiece_model())
    blank = BLANK_NAMES[kind]
    converted = ParakeetConverter(str(file)).converted()
    tokenizer = transformers.ParakeetTokenizer(tokenizer_object=converted, pad_token=blank)
    file.unlink()
    if extractor := their_extractor(MELS):
        tokenizer = transformers.ParakeetProcessor(
            extractor, tokenizer, blank_token=blank, decoder_type=kind
        )
    tokenizer.save_pretrained(folder)  # with the processor, where there is one
    model.save_pretrained(folder)


def random_features(lengths: Sequence[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return features with zeros as padding, and the mask of frames that count."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), MELS, generator=generator)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return values * mask[..., None], mask


def pair(
    kind: str, folder: Path, pad_id: int | None = None, **options: bool
) -> tuple[Peer, ConformerASRModel]:
    """Return a random model of theirs, and what this lab reads of it."""
    theirs = build(kind, pad_id=pad_id, **options)
    save(theirs, kind, folder)
    ours, _ = read_parakeet(folder)
    return theirs, ours


def batch_of(values: Tensor, lengths: Sequence[int], texts: Sequence[Sequence[int]]) -> Batch:
    tokens = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(text)
    return Batch(
        features=Sequences(values, torch.tensor(lengths)),
        tokens=tokens,
        token_lengths=torch.tensor([len(text) for text in texts]),
    )


TOKENS = ((3, 3, 9, 1), (27, 5), (0, 14, 2))


def their_inputs(
    kind: str, lengths: Sequence[int] = FRAMES["odd"], padding: int = VOCAB
) -> dict[str, Tensor]:
    """Return features, labels padded with the id that theirs expects, and what the decoder sees."""
    values, mask = random_features(lengths)
    labels = torch.full((len(TOKENS), max(map(len, TOKENS))), padding)
    for row, text in enumerate(TOKENS):
        labels[row, : len(text)] = torch.tensor(text)
    found = {"input_features": values, "attention_mask": mask, "labels": labels}
    if kind != "ctc":
        start = torch.full((len(TOKENS), 1), VOCAB)
        found["decoder_input_ids"] = torch.cat([start, labels], 1)
    return found


@pytest.mark.parametrize("longest", FRAMES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_encoder_and_the_scores_are_theirs_on_every_valid_step(
    kind: str, bias: bool, longest: str, tmp_path: Path
) -> None:
    theirs, ours = pair(kind, tmp_path, bias=bias, scale=bias)
    inputs = their_inputs(kind, FRAMES[longest])
    with torch.no_grad():
        expected = theirs(**inputs)
        batch = batch_of(inputs["input_features"], FRAMES[longest], TOKENS)
        encoded = ours.encoder(batch.features)
        found = ours.scores(encoded, batch.tokens, batch.token_lengths)[kind]
    assert found is not None
    for row, steps in enumerate(encoded.sequences.lengths):
        states = (
            expected.last_hidden_state
            if kind != "ctc"
            else theirs.encoder(
                inputs["input_features"], attention_mask=inputs["attention_mask"]
            ).last_hidden_state
        )
        values = encoded.sequences.values
        assert torch.allclose(values[row, :steps], states[row, :steps], atol=TOLERANCE)
    logits = expected.logits
    cut = VOCAB + 1
    scores = torch.cat([logits[..., :cut].log_softmax(-1), logits[..., cut:].log_softmax(-1)], -1)
    for row, (steps, text) in enumerate(zip(encoded.sequences.lengths, TOKENS, strict=True)):
        places = (slice(steps),) if kind == "ctc" else (slice(steps), slice(len(text) + 1))
        assert torch.allclose(found[row][places], scores[row][places], atol=TOLERANCE)


LABELS = {
    "ctc": ("ctc", VOCAB, VOCAB),
    "rnnt": ("rnnt", VOCAB, VOCAB),
    "tdt": ("tdt", VOCAB, VOCAB),
    "rnnt that pads text with a token": ("rnnt", PAD, VOCAB),
    "tdt that pads text with a token": ("tdt", PAD, PAD),
}
"""A kind, its `pad_token_id`, and the id that its loss does not count among the labels."""


@pytest.mark.parametrize("longest", FRAMES)
@pytest.mark.parametrize("case", LABELS)
def test_loss_and_gradients_are_theirs(case: str, longest: str, tmp_path: Path) -> None:
    kind, pad_id, padding = LABELS[case]
    theirs, ours = pair(kind, tmp_path, pad_id)
    if kind != "ctc":
        theirs.loss_function = partial(theirs.loss_function, reduction="sum")
    inputs = their_inputs(kind, FRAMES[longest], padding)
    expected = theirs(**inputs).loss
    expected.backward()
    model = ConformerASRModel(replace(ours.config, sigma=0.0)).eval()
    model.load_state_dict(ours.state_dict())
    loss = model.loss(batch_of(inputs["input_features"], FRAMES[longest], TOKENS))[kind].sum
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    both = to_theirs(ours.config, {**model.state_dict(), **gradients}, "parakeet", range(VOCAB + 1))
    for name, parameter in theirs.named_parameters():
        wanted, found = parameter.grad, both[name]
        if name == "decoder.embedding.weight":  # the blank is no token here and is not trained
            wanted, found = wanted[:VOCAB], found[:VOCAB]
        assert (wanted - found).norm() <= TOLERANCE * wanted.norm() + 1e-6, name


@pytest.mark.parametrize("kind", KINDS)
def test_theirs_comes_back_with_the_same_files(kind: str, tmp_path: Path) -> None:
    if their_extractor(MELS) is None:
        pytest.skip("their processor needs librosa, which is not installed")
    save(build(kind), kind, tmp_path / "theirs")
    write_parakeet(*read_parakeet(tmp_path / "theirs"), tmp_path / "again")
    first, second = (
        load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "again")
    )
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name in ("config.json", "tokenizer.json", "processor_config.json", "tokenizer_config.json"):
        old, new = (json.loads((tmp_path / f / name).read_text()) for f in ("theirs", "again"))
        for content in (old, new):
            content.pop("ctc_loss_reduction", None)  # of training alone
            content.pop("post_processor", None)  # a template that adds nothing, or none
        assert new == old, name


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_ours_comes_back_bit_for_bit(kind: str, bias: bool, tmp_path: Path) -> None:
    save(build(kind, bias=bias, scale=bias), kind, tmp_path / "theirs")
    ours, tokenizer = read_parakeet(tmp_path / "theirs")
    randomise(ours, seed=8)
    write_parakeet(ours, tokenizer, tmp_path / "ours")
    loaded = getattr(transformers, f"ParakeetFor{kind.upper()}").from_pretrained(tmp_path / "ours")
    loaded.save_pretrained(tmp_path / "again")
    for name in ("tokenizer.json", "processor_config.json"):
        (tmp_path / "again" / name).write_text((tmp_path / "ours" / name).read_text())
    again, same = read_parakeet(tmp_path / "again")
    assert again.config == ours.config
    assert same.to_bytes() == tokenizer.to_bytes()
    state = again.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_blank_in_another_place_becomes_the_last_and_goes_back(kind: str, tmp_path: Path) -> None:
    theirs = build(kind, blank_id=0)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer = BPETokenizer(sentencepiece_model())
    ours = build(kind)
    save(ours, kind, tmp_path / "last")
    write_parakeet(*read_parakeet(tmp_path / "last"), tmp_path / "first", blank_id=0)
    for name in ("tokenizer.json", "processor_config.json"):
        (tmp_path / "theirs" / name).write_text((tmp_path / "first" / name).read_text())
    model, read = read_parakeet(tmp_path / "theirs")
    assert read.encode("the cat") == tokenizer.encode("the cat")
    weight = theirs.state_dict()["ctc_head.weight" if kind == "ctc" else "joint.head.weight"]
    found = model.state_dict()["head.linear.weight" if kind == "ctc" else "transducer.out.weight"]
    assert torch.equal(found[VOCAB], weight[0].flatten())
    assert torch.equal(found[:VOCAB], weight[1 : VOCAB + 1].flatten(1))
    write_parakeet(model, read, tmp_path / "again", blank_id=0)
    old, new = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "again"))
    assert all(torch.equal(old[name], new[name]) for name in old)


def sounds(kind: str) -> list[Tensor]:
    """Return three utterances of lengths that are multiples of nothing."""
    if kind == "speech":
        texts = ("ace of bad", "cab", "fed a dab")
        return [torch.from_numpy(tone_speech(text, 7)).float() / 32768 for text in texts]
    generator = torch.Generator().manual_seed(4)
    scale = {"noise": 0.1, "quiet": 1e-4}[kind]
    return [scale * torch.randn(length, generator=generator) for length in (16000, 12345, 8003)]


def exactly(samples: Tensor, filters: Tensor) -> Tensor:
    """Return their features in FP64."""
    samples = samples.double()
    samples = torch.cat([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    window = torch.hann_window(400, periodic=False, dtype=torch.float64)
    spectrum = torch.stft(samples, 512, 160, 400, window, pad_mode="constant", return_complex=True)
    found = (filters.double() @ spectrum.abs().square() + 2**-24).log().mT
    found = found[: len(samples) // 160]
    return (found - found.mean(0)) / (found.std(0) + 1e-5)


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("kind", ["noise", "quiet", "speech"])
def test_features_are_those_of_their_extractor(kind: str, mels: int) -> None:
    """FP32 rounds what is faint beside loud tones, or near their floor, by more than 1e-4.

    Ours is then as near to FP64 as theirs.
    """
    sound = sounds(kind)
    if (extractor := their_extractor(mels)) is None:
        pytest.skip("their extractor needs librosa, which is not installed")
    expected = extractor([s.numpy() for s in sound], sampling_rate=16000, return_tensors="pt")
    padded = torch.nn.utils.rnn.pad_sequence(sound, batch_first=True)
    lengths = torch.tensor([len(s) for s in sound])
    found, frames = compute(recipe("nemo", mels, 16000), padded, lengths)
    assert frames.tolist() == expected["attention_mask"].sum(-1).tolist()
    for row, count in enumerate(frames):
        theirs, ours = expected["input_features"][row, :count], found[row, :count]
        exact = exactly(sound[row], extractor.mel_filters)
        rounding = (theirs - exact).abs().max()
        assert (ours - exact).abs().max() <= max(TOLERANCE, 2 * rounding)
        if kind == "noise" and mels == 80:
            assert torch.allclose(ours, theirs, atol=TOLERANCE)
        if kind != "quiet":
            assert (ours - theirs).square().mean().sqrt() <= TOLERANCE / 5


@pytest.mark.parametrize(
    "text", ["the cat ate one", "  two   cats ", "dog", "four\u00a0five", "\uff54he"]
)
def test_the_tokenizer_encodes_as_theirs(text: str, tmp_path: Path) -> None:
    save(build("ctc"), "ctc", tmp_path)
    _, ours = read_parakeet(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    original = BPETokenizer(sentencepiece_model())
    assert ours.encode(text) == original.encode(text)
    if text == text.strip():
        assert ours.encode(text) == theirs.encode(text)
