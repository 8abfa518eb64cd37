"""A portable checkpoint becomes a model that runs, or one line says why not."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pluggy
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.checkpoints import (
    MismatchedCheckpointError,
    PortableModel,
    build_model,
    read_portable,
    version_note,
    write_portable,
)
from asr_lab.models.base import (
    ASRModel,
    Batch,
    Decoder,
    DecodingOptions,
    EncoderOutput,
    Hypothesis,
    LossPart,
    LossParts,
    ModelConfig,
)
from asr_lab.plugins import ModelSpec, Plugins, PluginStatus, Registry
from asr_lab.reproducibility.hash import state_digest
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.utils.errors import UnknownNameError

TOKENIZER = CharacterTokenizer("abc ")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig(ModelConfig):
    """Configuration of the model below."""

    dim: int = 4

    def __post_init__(self) -> None:
        """Refuse a width that makes no model."""
        if self.dim < 1:
            raise ValueError(f"dim must be above 0; got {self.dim}")

    def steps(self, frames: int) -> int:
        """Keep every frame."""
        return frames


class TinyModel(ASRModel[TinyConfig]):
    """Two layers that stand for a recogniser."""

    def __init__(self, config: TinyConfig) -> None:
        """Build the layers."""
        super().__init__(config)
        self.hidden = nn.Linear(config.mels, config.dim)
        self.head = nn.Linear(config.dim, config.vocab + 1)
        self.register_buffer("mean", torch.zeros(config.mels))

    @property
    def decoders(self) -> Mapping[str, Decoder]:
        """It has none."""
        return {}

    def scores(
        self,
        encoder_output: EncoderOutput,
        tokens: Int[Tensor, "batch tokens"] | None,
        token_lengths: Int[Tensor, " batch"] | None,
    ) -> Mapping[str, Float[Tensor, "batch steps tokens"] | None]:
        """Score nothing."""
        return {}

    def loss(self, batch: Batch) -> LossParts:
        """Return the size of the features."""
        total = batch.features.values.float().square().sum()
        return {"size": LossPart(sum=total, count=len(batch))}

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Count utterances."""
        return {"size": len(batch)}

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Hear nothing."""
        return [Hypothesis(tokens=(), score=0.0)] * len(batch)


def plugins(version: str = "0.1.0", *, with_model: bool = True, reason: str = "") -> Plugins:
    """Return what is installed if the plugin `tiny` is, or is broken."""
    registry = Registry()
    if with_model:
        with registry.registering("tiny"):
            registry.add(
                ModelSpec(
                    name="model",
                    summary="two layers",
                    model=f"{__name__}:TinyModel",
                    config=f"{__name__}:TinyConfig",
                    presets=(),
                )
            )
    state = "failed" if reason else "loaded"
    status = PluginStatus(
        name="tiny", distribution="tiny-asr", version=version, state=state, reason=reason
    )
    found = [status] if with_model or reason else []
    return Plugins(pluggy.PluginManager("asr_lab"), registry, found)


def model(seed: int = 0) -> TinyModel:
    """Return a model with random weights."""
    torch.manual_seed(seed)
    return TinyModel(TinyConfig(vocab=TOKENIZER.size, mels=3))


def portable(**changes: object) -> PortableModel:
    """Return a checkpoint of that model."""
    network = model()
    values = {
        "model": "tiny/model",
        "distribution": "tiny-asr",
        "distribution_version": "0.1.0",
        "config": network.config.to_dict(),
        "tokenizer_kind": "characters",
        "tokenizer": TOKENIZER.to_bytes(),
        "tensors": network.state_dict(),
    }
    return PortableModel(**{**values, **changes})  # type: ignore[arg-type]


def test_a_model_is_built_with_its_weights_and_tokenizer(tmp_path: Path) -> None:
    write_portable(tmp_path / "best.pt", portable())
    network, tokenizer = build_model(read_portable(tmp_path / "best.pt"), "cpu", plugins())
    assert isinstance(network, TinyModel) and network.config == model().config
    assert not network.training
    assert state_digest(network.state_dict()) == state_digest(model().state_dict())
    assert tokenizer.encode("abc") == TOKENIZER.encode("abc")


def test_a_model_that_is_not_installed_is_named_with_its_distribution() -> None:
    missing = plugins(with_model=False)
    with pytest.raises(UnknownNameError, match=r"install tiny-asr 0\.1\.0 \(pip install tiny-asr"):
        build_model(portable(), "cpu", missing)
    broken = plugins(with_model=False, reason="ImportError: no module named flash")
    with pytest.raises(UnknownNameError, match="installed but failed: ImportError: no module"):
        build_model(portable(), "cpu", broken)
    with pytest.raises(UnknownNameError, match="nobody/nothing"):
        build_model(portable(model="nobody/nothing", distribution="nobody"))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tensors": {"mean": torch.zeros(3)}}, r"it lacks head\.bias"),
        ({"tensors": {**model().state_dict(), "z": torch.zeros(1)}}, "it has z besides"),
        (
            {"tensors": {**model().state_dict(), "mean": torch.zeros(4)}},
            r"mean is \(4,\) instead of \(3,\)",
        ),
        ({"config": {"dim": 4, "width": 3}}, "TinyConfig has no field 'width'"),
        ({"config": {"dim": 0}}, "dim must be above 0"),
    ],
)
def test_a_checkpoint_of_another_model_is_told_in_one_line(
    changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(MismatchedCheckpointError, match=problem) as caught:
        build_model(portable(**changes), "cpu", plugins())
    assert "is a checkpoint of another model than tiny/model" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_is_a_note_and_no_error() -> None:
    assert version_note(portable(), plugins("0.1.0")) == ""
    assert version_note(portable(), plugins(with_model=False)) == ""
    later = plugins("0.4.0")
    assert version_note(portable(), later) == "trained with tiny-asr 0.1.0; 0.4.0 is installed"
    build_model(portable(), "cpu", later)


def test_a_tokenizer_of_another_size_is_refused_with_both_numbers() -> None:
    other = CharacterTokenizer("ab").to_bytes()
    with pytest.raises(MismatchedCheckpointError) as told:
        build_model(portable(tokenizer=other), "cpu", plugins())
    assert str(told.value) == (
        "the checkpoint's tokenizer has 2 tokens, but its model scores 4 and a blank;"
        " use the tokenizer that belongs to the weights"
    )
