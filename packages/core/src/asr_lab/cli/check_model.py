"""`asr-lab check-model`: the conformance suite on an installed model."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from asr_lab.cli.options import parse_options
from asr_lab.plugins.loading import installed_plugins
from asr_lab.plugins.specs import ModelSpec
from asr_lab.utils.errors import UserError

NEEDED = ("pytest", "hypothesis", "beartype")


@dataclass(frozen=True, kw_only=True)
class CheckModelOptions:
    """What `check-model` takes."""

    name: str = field(metadata={"positional": True})
    """Model, as `asr-lab models` lists it."""
    select: str = ""
    """Run only checks whose name holds these words, as pytest's -k takes them; empty for all."""


def run(argv: Sequence[str]) -> int:
    """Run the command; 1 if a check failed."""
    summary = "Run the checks that every model must pass, on an installed one."
    options = parse_options(CheckModelOptions, argv, "check-model", summary)
    if options is None:
        return 0
    owner, spec = installed_plugins().registry.find(ModelSpec, options.name)
    if missing := [package for package in NEEDED if find_spec(package) is None]:
        install = "pip install 'asr-lab-core[testing]'"
        raise UserError(f"check-model needs {', '.join(missing)}; {install}")
    from asr_lab.testing.check import check_model

    return check_model(f"{owner}/{spec.name}", options.select)
