"""From a portable checkpoint to a model that runs."""

from collections.abc import Collection, Mapping

import torch

from asr_lab.checkpoints.errors import MismatchedCheckpointError
from asr_lab.checkpoints.portable import PortableModel
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.plugins import ModelSpec, Plugins, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.tokenizers import Tokenizer, load_tokenizer
from asr_lab.utils.errors import UnknownNameError


def build_model(
    portable: PortableModel,
    device: torch.device | str = "cpu",
    plugins: Plugins | None = None,
) -> tuple[ASRModel[ModelConfig], Tokenizer]:
    """Return the model in eval mode, with its weights, on `device`, and its tokenizer.

    `plugins` are the installed ones unless given. Raises UnknownNameError if nothing installed has
    the model, and MismatchedCheckpointError if weights or tokenizer do not fit it.
    """
    plugins = plugins or installed_plugins()
    model_class = load_target(find_model(portable, plugins).model)
    assert isinstance(model_class, type) and issubclass(model_class, ASRModel)
    config = config_of(portable, plugins)
    try:
        model: ASRModel[ModelConfig] = model_class(config)
    except (ValueError, TypeError) as error:
        raise _other_model(portable, str(error)) from error
    load_weights(model, portable)
    return model.to(device).eval(), tokenizer_of(portable, config)


def config_of(portable: PortableModel, plugins: Plugins) -> ModelConfig:
    """Return the configuration of a checkpoint's model; raises as `build_model` does."""
    config_class = load_target(find_model(portable, plugins).config)
    assert isinstance(config_class, type) and issubclass(config_class, ModelConfig)
    try:
        return config_class.from_dict(portable.config)
    except (ValueError, TypeError) as error:
        raise _other_model(portable, str(error)) from error


def tokenizer_of(portable: PortableModel, config: ModelConfig) -> Tokenizer:
    """Return a checkpoint's tokenizer.

    Raises UserError for a damaged one, and MismatchedCheckpointError if the model scores another
    number of tokens.
    """
    tokenizer = load_tokenizer(portable.tokenizer_kind, portable.tokenizer)
    if tokenizer.size != config.vocab:
        raise MismatchedCheckpointError(
            f"the checkpoint's tokenizer has {tokenizer.size} tokens, but its model scores "
            f"{config.vocab} and a blank; use the tokenizer that belongs to the weights"
        )
    return tokenizer


def find_model(portable: PortableModel, plugins: Plugins) -> ModelSpec:
    """Return the specification of a checkpoint's model.

    Raises UnknownNameError with the distribution to install.
    """
    try:
        return plugins.registry.find(ModelSpec, portable.model)[1]
    except UnknownNameError as error:
        broken = [status for status in plugins.failed if status.name == _plugin(portable)]
        what = f"; its plugin is installed but failed: {broken[0].reason}" if broken else ""
        wanted = f"{portable.distribution} {portable.distribution_version}"
        raise UnknownNameError(
            f"the checkpoint's model {portable.model!r} is not installed{what}; "
            f"install {wanted} (pip install {portable.distribution})"
        ) from error


def version_note(portable: PortableModel, plugins: Plugins | None = None) -> str:
    """Return a note if another version of the model's distribution is installed, else nothing."""
    known = plugins or installed_plugins()
    installed = known.distribution_of(_plugin(portable))[1]
    if installed in ("?", portable.distribution_version):
        return ""
    trained = f"{portable.distribution} {portable.distribution_version}"
    return f"trained with {trained}; {installed} is installed"


def _plugin(portable: PortableModel) -> str:
    return portable.model.partition("/")[0]


def load_weights(
    model: torch.nn.Module, portable: PortableModel, but: Collection[str] = ()
) -> None:
    """Copy a checkpoint's tensors into a model that has the same, by name and shape.

    Those named in `but` are left as the model has them. Raises MismatchedCheckpointError; the model
    is as it was then.
    """
    own = model.state_dict()
    found = {name: tensor for name, tensor in portable.tensors.items() if name not in but}
    if problem := difference({k: v for k, v in own.items() if k not in but}, found):
        raise _other_model(portable, problem)
    model.load_state_dict({**own, **found})


def difference(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """Return the first way in which the tensors differ from those expected, or nothing."""
    for name in sorted(set(expected) | set(found)):
        if name not in found:
            return f"it lacks {name}"
        if name not in expected:
            return f"it has {name} besides"
        here, there = expected[name], found[name]
        if here.shape != there.shape:
            return f"{name} is {tuple(there.shape)} instead of {tuple(here.shape)}"
    return ""


def _other_model(portable: PortableModel, problem: str) -> MismatchedCheckpointError:
    return MismatchedCheckpointError(
        f"this is a checkpoint of another model than {portable.model} as installed: {problem}; "
        f"install {portable.distribution} {portable.distribution_version} or use another checkpoint"
    )
