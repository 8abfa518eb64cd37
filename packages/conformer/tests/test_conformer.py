"""The conformer keeps the contract of models, and its sizes are the published ones."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr_lab.models.base import Batch, Sequences, TransducerDecoder
from asr_lab.models.base.outputs import total_loss
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.testing import ModelContract
from asr_lab.testing.inputs import collate, random_utterances
from asr_lab.utils.errors import UserError

PUBLISHED = {  # millions of parameters: CTC, RNN-T
    "small": (12.78, 14.24),
    "medium": (26.39, 31.30),
    "large": (109.29, 114.10),
    "fast_conformer": (109.29, 114.10),
    "large_18": (115.60, 120.41),
    "xlarge": (608.80, 616.69),
    "xxlarge": (1062.37, 1070.26),
}


class TestConformer(ModelContract):
    model = "conformer"


class TestConformerAsPublished(ModelContract):
    model = "conformer"
    overrides = {"positions": "relative", "norm": "batch", "scale_input": True, "subsampling": 8}


def parameters(config: ConformerConfig, **changes: object) -> int:
    changed = replace(config, **changes)  # type: ignore[arg-type]
    with torch.device("meta"):
        return sum(weight.numel() for weight in ConformerASRModel(changed).parameters())


def millions(config: ConformerConfig, **changes: object) -> float:
    return round(parameters(config, **changes) / 1e6, 2)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_size_has_the_published_number_of_parameters(preset: str) -> None:
    config = getattr(ConformerConfig, preset)()
    assert config.vocab == 1024
    assert (millions(config), millions(config, head="rnnt")) == PUBLISHED[preset]


@pytest.mark.parametrize("preset", sorted(set(PUBLISHED) - {"fast_conformer"}))
def test_a_preset_says_what_it_has_with_either_head_and_positions(preset: str) -> None:
    config, claim = getattr(ConformerConfig, preset)(), getattr(ConformerConfig, preset).__doc__
    first, *_, relative, rotary, rotary_rnnt = re.findall(r"([\d.]+) M", claim)
    found = [
        f"{millions(config, head=head, positions=positions):.2f}"
        for positions in ("relative", "rotary")
        for head in ("ctc", "rnnt")
    ]
    assert [first, relative, rotary, rotary_rnnt] == found


def test_the_readme_says_how_large_the_presets_are() -> None:
    readme = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    for preset in sorted(set(PUBLISHED) - {"fast_conformer"}):
        config = getattr(ConformerConfig, preset)()
        counts = " | ".join(
            f"{millions(config, head=head, positions=positions):.2f}"
            for positions in ("relative", "rotary")
            for head in ("ctc", "rnnt")
        )
        networks = f"{config.predictor_layers} x {config.predictor_dim}"
        (line,) = (line for line in readme.splitlines() if line.startswith(f"| `{preset}`"))
        assert line.endswith(f"| {counts} | {networks} |")


def test_heads_together_have_the_parameters_of_each_and_durations_add_scores() -> None:
    tiny = replace(ConformerConfig.tiny(), vocab=32)
    ctc, rnnt, both = (parameters(tiny, head=head) for head in ("ctc", "rnnt", "rnnt+ctc"))
    assert both == rnnt + (128 + 1) * 33
    assert both > ctc
    assert parameters(tiny, head="tdt") == rnnt + 5 * (128 + 1)


def test_rotary_positions_save_the_relative_ones_parameters() -> None:
    large = ConformerConfig.large()
    assert parameters(large) - parameters(large, positions="rotary") == 17 * 512 * (512 + 2)


def test_tiny_has_the_parameters_that_it_claims() -> None:
    tiny, claim = replace(ConformerConfig.tiny(), vocab=32), str(ConformerConfig.tiny.__doc__)
    assert f"Return {millions(tiny)} M parameters with CTC" in claim
    assert f"{millions(tiny, head='rnnt')} M with RNN-T" in claim


@pytest.mark.parametrize(
    ("head", "decoders"),
    [
        ("ctc", ["ctc"]),
        ("rnnt", ["rnnt"]),
        ("tdt", ["tdt"]),
        ("rnnt+ctc", ["rnnt", "ctc"]),
        ("tdt+ctc", ["tdt", "ctc"]),
    ],
)
def test_a_head_gives_its_decoders_and_the_transducer_comes_first(
    head: str, decoders: list[str]
) -> None:
    config = ConformerConfig.from_dict({**ConformerConfig.tiny().to_dict(), "head": head})
    model, batch = ConformerASRModel(config), collate(random_utterances(config, [64]))
    assert list(model.decoders) == decoders
    assert model.primary == decoders[0]
    assert config.uses_ctc == ("ctc" in decoders)
    assert list(model.loss(batch)) == decoders
    transducer = model.decoders[decoders[0]]
    if isinstance(transducer, TransducerDecoder):
        assert transducer.durations == ((0, 1, 2, 3, 4) if "tdt" in head else ())


def test_the_losses_of_heads_together_share_one_weight() -> None:
    config = replace(ConformerConfig.tiny(), head="rnnt+ctc", ctc_weight=0.2, vocab=9)
    parts = ConformerASRModel(config).loss(collate(random_utterances(config, [64])))
    assert (parts["rnnt"].weight, parts["ctc"].weight) == (0.8, 0.2)
    for head in ("ctc", "rnnt"):
        alone = replace(config, head=head)
        parts = ConformerASRModel(alone).loss(collate(random_utterances(alone, [64])))
        assert parts[head].weight == 1


def test_a_transducer_takes_a_text_that_is_longer_than_its_audio_and_ctc_does_not() -> None:
    torch.manual_seed(0)
    config = replace(ConformerConfig.tiny(), head="rnnt+ctc", vocab=9)
    model, batch = ConformerASRModel(config), collate(random_utterances(config, [16]))
    text = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]])
    long = replace(batch, tokens=text, token_lengths=torch.tensor([8]))
    parts = model.loss(long)
    assert config.steps(16) < 8
    assert parts["ctc"].sum == 0
    assert parts["rnnt"].sum > 0


def double(batch: Batch) -> Batch:
    features = Sequences(batch.features.values.double(), batch.features.lengths)
    return replace(batch, features=features)


def test_settings_of_the_transducer_reach_its_loss() -> None:
    config = replace(ConformerConfig.tiny(), head="tdt", vocab=9)
    batch = collate(random_utterances(config, [64]))

    def total(**changes: object) -> float:
        torch.manual_seed(0)
        changed = replace(config, **changes)  # type: ignore[arg-type]
        return ConformerASRModel(changed).double().loss(double(batch))["tdt"].sum.item()

    def gradient(fast_emit: float) -> torch.Tensor:
        torch.manual_seed(0)
        model = ConformerASRModel(replace(config, fast_emit=fast_emit))
        model.loss(batch)["tdt"].sum.backward()
        assert model.transducer is not None
        assert model.transducer.out.bias.grad is not None
        return model.transducer.out.bias.grad

    assert total(sigma=0.5) > total(sigma=0.0)
    assert total(joint_activation="tanh") != total()
    assert not torch.allclose(gradient(0.0), gradient(0.5), rtol=1e-3)


def test_local_attention_hears_its_context_and_full_attention_everything() -> None:
    config = replace(ConformerConfig.tiny(), layers=1, kernel=1, vocab=9)
    near = replace(config, attention="local", left_context=2, right_context=1)

    def heard(config: ConformerConfig) -> list[int]:
        torch.manual_seed(0)
        model, batch = ConformerASRModel(config), collate(random_utterances(config, [80]))
        features = batch.features.values.requires_grad_(True)
        model.encoder(batch.features).sequences.values[0, 10, 0].backward()
        assert features.grad is not None
        frames = features.grad[0].any(-1).nonzero()[:, 0]
        return [int(frames.min()), int(frames.max())]

    # Two convolutions of three frames and stride 2 let step n hear frames 4 n - 3 to 4 n + 3.
    assert heard(near) == [4 * (10 - 2) - 3, 4 * (10 + 1) + 3]
    assert heard(config) == [0, 79]


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_a_context_in_seconds_makes_full_attention_local_and_shares_the_weights(
    positions: str,
) -> None:
    config = replace(ConformerConfig.tiny(), layers=2, vocab=9, positions=positions)  # type: ignore[arg-type]
    torch.manual_seed(0)
    whole = ConformerASRModel(config).eval()
    near = whole.with_context(0.2)  # five steps of 40 ms
    assert near.config == replace(config, attention="local", left_context=5, right_context=5)
    pairs = zip(whole.parameters(), near.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs) and not near.training
    local = ConformerASRModel(near.config).eval()
    local.load_state_dict(whole.state_dict())
    features = collate(random_utterances(config, [200, 57])).features
    with torch.no_grad():
        found = near.encoder(features).sequences.values
        assert torch.equal(found, local.encoder(features).sequences.values)
        assert not torch.allclose(found, whole.encoder(features).sequences.values, rtol=1e-2)
        wide = whole.with_context(100.0).encoder(features).sequences.values
        assert torch.allclose(wide, whole.encoder(features).sequences.values, atol=1e-5)


@pytest.mark.parametrize("attention", ["local", "chunked"])
def test_a_context_that_is_limited_already_is_not_limited_again(attention: str) -> None:
    config = replace(ConformerConfig.tiny(), layers=1, attention=attention)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"only full attention .* this model's is {attention}; l"):
        ConformerASRModel(config).with_context(2.0)


def test_the_published_sizes_keep_their_norm_and_positions_and_new_ones_do_not_couple() -> None:
    published, new = ConformerConfig.small(), ConformerConfig()
    assert (published.norm, published.positions) == ("batch", "relative")
    assert published.scale_input
    assert not ConformerConfig.xlarge().scale_input
    assert (new.norm, new.positions) == ("layer", "rotary")


def test_only_batch_norm_couples_the_utterances_of_a_batch() -> None:
    tiny = ConformerConfig.tiny()
    assert not ConformerASRModel(tiny).couples_utterances
    batch = replace(tiny, norm="batch")
    assert ConformerASRModel(batch).couples_utterances
    assert not ConformerASRModel(replace(batch, freeze_statistics=True)).couples_utterances


def test_frozen_statistics_do_not_move_in_train_mode() -> None:
    config = replace(ConformerConfig.tiny(), norm="batch", freeze_statistics=True, vocab=9)
    model = ConformerASRModel(config).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.loss(collate(random_utterances(config, [64, 97])))
    assert len(before) == 2 * config.layers
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_batch_norm_in_train_mode_depends_on_batch_mates_but_not_on_padding() -> None:
    config = replace(ConformerConfig.tiny(), norm="batch", dropout=0.0, vocab=9)
    torch.manual_seed(0)
    model = ConformerASRModel(config).double().train()
    some = random_utterances(config, [64, 97], dtype=torch.float64)
    more = random_utterances(config, [64, 160], dtype=torch.float64)

    def encoded(batch_number: int, extra: int) -> torch.Tensor:
        batch = collate((some, more)[batch_number], extra=extra)
        return model.encoder(batch.features).sequences.values[0, : config.steps(64)]

    assert torch.allclose(encoded(0, 0), encoded(0, 23), rtol=1e-9)
    assert not torch.allclose(encoded(0, 0), encoded(1, 0), rtol=1e-3)


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_without_bias_only_norms_subsampling_and_head_have_one(positions: str) -> None:
    changes = {"bias": False, "positions": positions}
    config = ConformerConfig.from_dict({**ConformerConfig.tiny().to_dict(), **changes})
    names = [name for name, _ in ConformerASRModel(config).encoder.named_parameters()]
    biases = [name for name in names if name.endswith(".bias") and "subsampling" not in name]
    assert biases and all("norm." in name for name in biases)


def test_dropout_acts_in_train_mode_only() -> None:
    config = replace(ConformerConfig.tiny(), dropout=0.5, vocab=9)
    model, batch = ConformerASRModel(config), collate(random_utterances(config, [64]))

    def loss() -> float:
        return total_loss(model.loss(batch), model.loss_counts(batch)).item()

    model.train()
    assert loss() != loss()
    model.eval()
    assert loss() == loss()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 100, "heads": 4}, "dim must be a multiple of twice the heads, 8; got 100"),
        ({"subsampling": 6}, "subsampling must be 4 or 8; got 6"),
        ({"kernel": 8}, "kernel must be odd; got 8"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1; got 1.0"),
        ({"layers": 0}, "layers must be 1 or more"),
        ({"subsampling_channels": 0}, "subsampling-channels must be 1 or more"),
        ({"right_context": -1}, "right-context must be 0 or more"),
        ({"predictor_dim": 0}, "predictor-dim must be 1 or more"),
        ({"ctc_weight": 1.0}, "ctc-weight must be between 0 and 1; got 1.0"),
        ({"head_dropout": 1.0}, "head-dropout must be from 0 to below 1; got 1.0"),
        ({"sigma": -1.0}, "sigma must be 0 or more"),
        ({"durations": [1, 2]}, "durations must be distinct, 0 or more, with 0 and 1; got"),
        ({"durations": [0, 1, 1]}, "durations must be distinct, 0 or more, with 0 and 1; got"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ConformerConfig.from_dict({**ConformerConfig.tiny().to_dict(), **changes})
