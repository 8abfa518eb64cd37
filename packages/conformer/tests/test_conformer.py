"""The conformer keeps the contract of models, and its sizes are the published ones."""

from dataclasses import replace

import pytest
import torch

from asr_lab.models.base.outputs import total_loss
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.testing import ModelContract
from asr_lab.testing.inputs import collate, random_utterances
from asr_lab.utils.errors import UserError

PUBLISHED = {
    "small": 12_781_665,
    "medium": 26_392_065,
    "large": 109_287_937,
    "fast_conformer": 109_287_937,
    "large_18": 115_600_385,
    "xlarge": 608_799_745,
    "xxlarge": 1_062_368_257,
}


class TestConformer(ModelContract):
    model = "conformer"


class TestConformerAsPublished(ModelContract):
    model = "conformer"
    overrides = {"positions": "relative", "norm": "batch", "scale_input": True, "subsampling": 8}


def parameters(config: ConformerConfig) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in ConformerASRModel(config).parameters())


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_published_size_has_the_published_number_of_parameters(preset: str) -> None:
    config = getattr(ConformerConfig, preset)()
    assert config.vocab == 1024
    assert parameters(config) == PUBLISHED[preset]


def test_tiny_has_the_parameters_that_it_claims() -> None:
    count = parameters(replace(ConformerConfig.tiny(), vocab=32))
    assert f"Return {count / 1e6:.2f} M parameters" in str(ConformerConfig.tiny.__doc__)


def test_the_published_sizes_keep_their_norm_and_positions_and_new_ones_do_not_couple() -> None:
    published, new = ConformerConfig.small(), ConformerConfig()
    assert (published.norm, published.positions) == ("batch", "relative")
    assert published.scale_input
    assert not ConformerConfig.xlarge().scale_input
    assert (new.norm, new.positions) == ("layer", "rotary")


def test_only_batch_norm_couples_the_utterances_of_a_batch() -> None:
    tiny = ConformerConfig.tiny()
    assert not ConformerASRModel(tiny).couples_utterances
    assert ConformerASRModel(replace(tiny, norm="batch")).couples_utterances


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
    ],
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ConformerConfig.from_dict({**ConformerConfig.tiny().to_dict(), **changes})
