"""`asr-lab train`: train a model, evaluate it, and say what to do next."""

from collections.abc import Sequence
from dataclasses import replace

from asr_lab.cli.arguments import wants_help
from asr_lab.cli.flags import Parsed
from asr_lab.cli.help import FlagGroup, render_help
from asr_lab.cli.reexecution import with_variables
from asr_lab.cli.run_options import Choice, choose, flag_groups, layers, parse_run
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError

SUMMARY = "Train a model, evaluate it, and keep everything in the folder of the run."


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    if wants_help(argv):
        return show_help(argv)
    config, options = parse_run(argv, installed_plugins().registry)
    with_variables(config.repro, ["train", *argv])
    from asr_lab.training.run import train

    return train(config, dry_run=options.dry_run, as_json=options.json)


def show_help(argv: Sequence[str]) -> int:
    """Print all flags; with `--model` and `--config`, those of the model and its defaults."""
    choice, problems = choose(argv, installed_plugins().registry)
    wrong = [problem for problem in problems if not problem.startswith("--model is missing")]
    if wrong:
        raise UserError(wrong[0])
    notes = "A configuration file has the same names without dashes: `train.lr: 3e-4`."
    if choice.config is None:
        notes = f"`asr-lab train --model NAME --help` adds the flags of a model.\n{notes}"
    print(render_help("train", SUMMARY, with_defaults(choice), notes))
    return 0


def with_defaults(choice: Choice) -> list[FlagGroup]:
    """Return the flags with the defaults that the preset's recipe and the file give them.

    Raises UserError for what is wrong in either.
    """
    groups = flag_groups(choice)
    flags = [flag for group in groups for flag in group.flags]
    found, problems = layers((), choice, flags)
    parsed = Parsed(problems=problems)
    parsed.assign(found, flags)
    parsed.check()
    values = parsed.values
    return [
        replace(
            group, flags=[replace(f, default=values.get(f.name, f.default)) for f in group.flags]
        )
        for group in groups
    ]
