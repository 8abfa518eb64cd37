"""From audio to hypotheses: what evaluation and transcription share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from asr_lab.audio.recipes import FeatureRecipe, recipe
from asr_lab.checkpoints import PortableModel, build_model, read_portable, version_note
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import shortest_audio
from asr_lab.data.features import to_batch
from asr_lab.decoding import with_language_model
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.model import ASRModel
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import Hypothesis
from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.precision import get_precision_manager
from asr_lab.precision.devices import choose_device
from asr_lab.tokenizers import Tokenizer
from asr_lab.utils.errors import tell

R = TypeVar("R", bound="Recogniser")
BEST = "best.pt"


@dataclass(frozen=True)
class Loaded:
    """A checkpoint with its model on the CPU."""

    path: Path
    portable: PortableModel
    model: ASRModel[ModelConfig]
    tokenizer: Tokenizer


def load_checkpoint(path: Path, plugins: Plugins | None = None, *, quiet: bool = False) -> Loaded:
    """Load `best.pt`, given itself or the folder of its run; other versions are noted on stderr.

    `quiet` leaves the note to another process.

    Raises CheckpointError for a file that cannot be used, UnknownNameError for a model that is
    not installed.
    """
    plugins = plugins or installed_plugins()
    file = path / BEST if path.is_dir() else path
    portable = read_portable(file)
    model, tokenizer = build_model(portable, "cpu", plugins)
    if not quiet and (note := version_note(portable, plugins)):
        tell(note)
    return Loaded(file, portable, model, tokenizer)


@dataclass(frozen=True, kw_only=True)
class Recogniser:
    """Everything that turns audio into tokens, and tokens into text."""

    model: ASRModel[ModelConfig]
    """On `device` already; put into eval mode while it works."""
    tokenizer: Tokenizer
    recipe: FeatureRecipe
    decoding: DecodingOptions = DecodingOptions()
    device: torch.device = torch.device("cpu")
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    """What spans model and search, such as a precision manager's `autocast`."""
    switches: Callable[[], AbstractContextManager[object]] = nullcontext
    """What spans all work on the device, such as a precision manager's `step`."""

    @classmethod
    def of(
        cls: type[R],
        loaded: Loaded,
        decoding: DecodingOptions | None = None,
        precision: str = "fp32",
        device: str = "",
    ) -> R:
        """Put a loaded model on a device, in a precision; an empty `device` is the best there is.

        Raises UnknownNameError for a decoder that the model lacks, UserError for a device or a
        precision that cannot be used.
        """
        decoding = decoding or DecodingOptions()
        name, _ = loaded.model.decoder(decoding)
        decoding = replace(decoding, decoder=name)
        place = choose_device(device)
        manager = get_precision_manager(precision, place)
        manager.prepare(loaded.model)
        config = loaded.model.config
        return cls(
            model=loaded.model.to(place),
            tokenizer=loaded.tokenizer,
            recipe=recipe(config.features, config.mels, config.sample_rate),
            decoding=with_language_model(decoding, loaded.tokenizer.pieces),
            device=place,
            autocast=manager.autocast,
            switches=manager.step,
        )

    @property
    def shortest(self) -> int:
        """Fewest samples of audio that can be recognised."""
        return shortest_audio(self.recipe.frames, self.model.config.steps)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Span work with the model: eval mode, no gradients, the precision's switches."""
        with self.switches(), _eval_mode(self.model), torch.inference_mode():
            yield

    def hypotheses(self, batch: AudioBatch) -> list[Hypothesis]:
        """Compute features, run the model and search; hypotheses are on the CPU, so all is done.

        Only inside `working`.
        """
        features = to_batch(batch, self.recipe, self.device)
        with self.autocast():
            hypotheses = self.model.transcribe(features, self.decoding)
        assert len(hypotheses) == len(batch), "a model returns one hypothesis per utterance"
        return hypotheses


@contextmanager
def _eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switch dropout and the like off inside the block, and every module back afterwards."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training
