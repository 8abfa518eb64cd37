"""`asr-lab doctor`: what this machine and this installation can do, and what is missing."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, version

from asr_lab.cli.options import parse_options
from asr_lab.cli.tables import table
from asr_lab.plugins.loading import Plugins, installed_plugins
from asr_lab.plugins.specs import PrecisionSpec

FAILED = "cannot be imported: "


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """What `doctor` takes."""

    json: bool = False
    """Print JSON instead of text."""
    device: str = ""
    """Device to ask about: `cpu`, `cuda` or `cuda:N`; empty for the GPU if there is one."""


@dataclass(frozen=True, kw_only=True)
class Extra:
    """An optional part of an installed distribution."""

    name: str
    """As pip writes it: `asr-lab-core[tensorboard]`."""
    missing: tuple[str, ...]
    """Its packages that are not installed."""

    @property
    def state(self) -> str:
        """What to tell: that it is there, or how to install it."""
        return f"pip install '{self.name}'" if self.missing else "installed"


def run(argv: Sequence[str]) -> int:
    """Run the command; 1 if a plugin failed or torch cannot be imported."""
    summary = "Show what this machine can do: devices, precisions, plugins, optional packages."
    options = parse_options(DoctorOptions, argv, "doctor", summary)
    if options is None:
        return 0
    plugins = installed_plugins()
    facts = machine_facts()
    broken = facts.get("torch", "").startswith(FAILED)
    precisions = {} if broken else precision_answers(plugins, options.device)
    extras = optional_packages(plugins)
    if options.json:
        print(json.dumps(_plain(facts, precisions, plugins, extras), indent=2))
    else:
        print(report(facts, precisions, plugins, extras))
    return 1 if broken or plugins.failed else 0


def machine_facts() -> dict[str, str]:
    """Return what a run's record says of its environment; a torch that does not import is told."""
    from asr_lab.reproducibility.environment import (
        code,
        machine,
        packages,
        torch_facts,
        variables,
    )

    facts = {"asr-lab": version("asr-lab-core"), **code(), **machine(), **variables(), **packages()}
    try:
        return {**facts, **torch_facts()}
    except (ImportError, OSError, RuntimeError) as error:
        return {**facts, "torch": f"{FAILED}{' '.join(str(error).split())}"}


def precision_answers(plugins: Plugins, device: str) -> dict[str, str]:
    """Return `yes`, or why not, for every registered precision.

    Raises UserError for a device that is not there.
    """
    from asr_lab.precision import support
    from asr_lab.precision.devices import choose_device

    target = choose_device(device)
    answers = {}
    for owner, spec in plugins.registry.all(PrecisionSpec):
        try:
            answer = support(f"{owner}/{spec.name}", target)
            reason = answer.reason.removeprefix(f"{spec.name} ")
            answers[spec.name] = f"yes, on {target}" if answer.ok else f"no: {reason}"
        except Exception as error:
            answers[spec.name] = f"no: {owner} failed with {type(error).__name__}: {error}"
    return answers


def optional_packages(plugins: Plugins) -> list[Extra]:
    """Return the extras of every distribution that has a plugin."""
    extras = []
    for name in sorted({status.distribution for status in plugins.status} - {"?"}):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        for extra in found.metadata.get_all("Provides-Extra") or ():
            missing = tuple(filter(_is_missing, _packages(found.requires or (), extra)))
            extras.append(Extra(name=f"{name}[{extra}]", missing=missing))
    return extras


def _packages(requirements: Sequence[str], extra: str) -> list[str]:
    asked = re.compile(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]")
    return [re.split(r"[^\w.-]", line)[0] for line in requirements if asked.search(line)]


def _is_missing(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return True
    return False


def report(
    facts: Mapping[str, str], precisions: Mapping[str, str], plugins: Plugins, extras: list[Extra]
) -> str:
    """Return the text for people: facts, precisions, plugins, optional packages."""
    counts = {
        state: sum(status.state == state for status in plugins.status)
        for state in ("loaded", "disabled", "failed")
    }
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    failed = [(f"  {status.name}", status.reason) for status in plugins.failed]
    blocks = [
        table(list(facts.items())),
        "precisions\n" + table([(f"  {name}", answer) for name, answer in precisions.items()]),
        "\n".join([f"plugins: {summary}", *filter(None, [table(failed)])]),
        "optional packages\n" + table([(f"  {extra.name}", extra.state) for extra in extras]),
    ]
    return "\n\n".join(blocks)


def _plain(
    facts: Mapping[str, str], precisions: Mapping[str, str], plugins: Plugins, extras: list[Extra]
) -> dict[str, object]:
    return {
        "machine": dict(facts),
        "precisions": dict(precisions),
        "plugins": [asdict(status) for status in plugins.status],
        "optional": [{**asdict(extra), "installed": not extra.missing} for extra in extras],
    }
