"""What `train --from` reads of a checkpoint before there are any settings: what makes its flags."""

from dataclasses import dataclass
from pathlib import Path

from asr_lab.cli.config_files import Flat, flatten
from asr_lab.models.base.config import ModelConfig
from asr_lab.plugins.loading import installed_plugins
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import ModelSpec
from asr_lab.training.config import FINE_TUNING
from asr_lab.utils.errors import tell

PRESET = "finetuned"
"""What stands in place of a preset where none is named."""
ANY_SIZE = "characters"
"""Kind of tokenizer whose size follows from the text."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A checkpoint that training starts from, as far as settings need to know it."""

    path: str
    """What was typed."""
    model: str
    """Qualified name."""
    config: ModelConfig
    tokenizer: str
    """Kind of its tokenizer."""

    def recipe(self, preset: Flat, source: str) -> Flat:
        """Return training settings: those of a preset, if one was named, made gentle."""
        found = {**preset, **flatten(FINE_TUNING, source), "data.tokenizer": (self.tokenizer,)}
        if self.tokenizer != ANY_SIZE:
            found["data.vocab"] = (str(self.config.vocab),)
        return found

    def problem_with_model(self, name: str, registry: Registry) -> str:
        """Return why a model that was named cannot start from it; empty if it can."""
        owner, spec = registry.find(ModelSpec, name)
        if f"{owner}/{spec.name}" == self.model:
            return ""
        return f"--model {name}: {self.path} is of model {self.model}; leave --model out"

    def problem_with_preset(
        self, preset: str, named: ModelConfig, chosen: ModelConfig, registry: Registry
    ) -> str:
        """Return why a preset that was named, with all changes, is another model than this one.

        `chosen` is the configuration of this one with the same changes. Empty if they agree.
        """
        from asr_lab.checkpoints.shapes import told, weight_changes

        _, spec = registry.find(ModelSpec, self.model)
        if not (wrong := weight_changes(spec, chosen, named)):
            return ""
        return f"--config {preset} is not {self.path}: {told(wrong)}; leave --config out"


def read_origin(path: str) -> Origin:
    """Look at what `--from` names. Raises UserError for what cannot be used."""
    from asr_lab.checkpoints.building import config_of, version_note
    from asr_lab.checkpoints.sources import read_source

    plugins = installed_plugins()
    portable = read_source(Path(path), plugins)
    config = config_of(portable, plugins)
    if note := version_note(portable, plugins):
        tell(note)
    kind = portable.tokenizer_kind
    return Origin(path=path, model=portable.model, config=config, tokenizer=kind)
