"""From the command line of `train` to the settings of a run.

Later wins: defaults of the dataclasses, the preset's recipe, the configuration file, the command
line. All problems of all of them are reported together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr_lab.cli.arguments import Scanner, peek
from asr_lab.cli.checks import check_names
from asr_lab.cli.config_files import Flat, assignments, flatten, looks_like_file, read_config_file
from asr_lab.cli.flags import Assignment, Flag, Parsed, flags_of
from asr_lab.cli.help import FlagGroup
from asr_lab.cli.origins import PRESET, Origin, read_origin
from asr_lab.models.base.config import ModelConfig
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import ModelSpec, load_target
from asr_lab.training.config import DataConfig, RunConfig, TrainConfig
from asr_lab.utils.errors import UserError, suggestion, unknown

NO_FLAG = frozenset({"model", "preset", "model_config", "train", "data_config", "changes"})
"""Fields of RunConfig that have no flag of their own."""
RECIPE = "recipe of"
"""What the source of a preset's training settings starts with."""
SET_BY_TRAINING = frozenset({"vocab"})
"""Fields of a model configuration that the trainer sets from the tokenizer."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `train` takes besides the settings of the run."""

    model: str
    """Model, as `asr-lab models` lists it; `--from` knows it."""
    config: str = ""
    """Preset of the model, or a .yaml, .json or .toml file; empty for the model's first preset, or
    for the settings of the model that `--from` names."""
    dry_run: bool = False
    """Check everything and print the plan; write nothing."""
    json: bool = False
    """Print JSON Lines instead of text."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The model, the preset and the file that a command line chose."""

    model: str = ""
    """Qualified name; empty if there is none of that name."""
    preset: str = ""
    config: ModelConfig | None = None
    """The preset's configuration, or that of the model that `--from` names."""
    origin: Origin | None = None
    """What `--from` names."""
    named: ModelConfig | None = None
    """The preset's configuration where a preset was named beside `--from`."""
    recipe: Flat = field(default_factory=dict)
    """Training settings of the preset."""
    file: Flat = field(default_factory=dict)
    file_name: str = ""

    @property
    def origin_of_config(self) -> str:
        """Where the configuration comes from, in words."""
        return f"as in {self.origin.path}" if self.origin else f"preset {self.preset}"


def choose(argv: Sequence[str], registry: Registry) -> tuple[Choice, list[str]]:
    """Find model, preset and file; what cannot be found becomes a problem."""
    problems: list[str] = []
    said = peek(argv, "config") or ""
    file, preset = {}, said
    if looks_like_file(said):
        try:
            file = read_config_file(Path(said))
        except UserError as error:
            problems.append(str(error))
        (preset,) = file.pop("preset", ("",))
    names = file.pop("model", ())
    name = peek(argv, "model") or (names[0] if len(names) == 1 else "")
    file_name = said if said != preset else ""
    choice = Choice(file=file, file_name=file_name)
    origins = file.get("from", ())
    if path := peek(argv, "from") or (origins[0] if len(origins) == 1 else ""):
        return _started(choice, path, name, preset, registry, problems), problems
    if not name:
        models = [spec.name for _, spec in registry.all(ModelSpec)]
        problems.append(f"--model is missing{suggestion('', models)}")
        return choice, problems
    try:
        owner, spec = registry.find(ModelSpec, name)
        preset = preset or (spec.presets[0] if spec.presets else "default")
        return _chosen(choice, owner, spec, preset), problems
    except UserError as error:
        return choice, [*problems, str(error)]


def _started(
    choice: Choice, path: str, name: str, preset: str, registry: Registry, problems: list[str]
) -> Choice:
    """Return the choice that a checkpoint makes, with which a model and a preset must agree."""
    try:
        origin = read_origin(path)
        _, spec = registry.find(ModelSpec, origin.model)
        if problem := origin.problem_with_model(name, registry) if name else "":
            raise UserError(problem)
        named = preset_config(spec, preset) if preset else None
    except UserError as error:
        problems.append(str(error))
        return choice
    recipe = flatten(spec.recipes.get(preset, {}), f"{RECIPE} {spec.name} {preset}")
    return replace(
        choice,
        model=origin.model,
        preset=preset or PRESET,
        config=origin.config,
        origin=origin,
        named=named,
        recipe=origin.recipe(recipe, f"{RECIPE} fine-tuning"),
    )


def _chosen(choice: Choice, owner: str, spec: ModelSpec, preset: str) -> Choice:
    recipe = spec.recipes.get(preset, {})
    return Choice(
        model=f"{owner}/{spec.name}",
        preset=preset,
        config=preset_config(spec, preset),
        recipe=flatten(recipe, f"{RECIPE} {spec.name} {preset}"),
        file=choice.file,
        file_name=choice.file_name,
    )


def preset_config(spec: ModelSpec, preset: str) -> ModelConfig:
    """Return the configuration of a preset; a model without presets has only `default`.

    Raises UnknownNameError for a preset that is not there, UserError for a plugin whose
    configuration cannot be imported.
    """
    presets = spec.presets or ("default",)
    if preset not in presets:
        raise unknown(f"preset of {spec.name}", preset, presets, "asr-lab models")
    try:
        kind = load_target(spec.config)
        assert isinstance(kind, type) and issubclass(kind, ModelConfig), spec.config
        made: object = getattr(kind, preset)() if spec.presets else kind()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"model {spec.name!r} cannot be loaded: {reason}") from error
    assert isinstance(made, ModelConfig), spec.config
    return made


def flag_groups(choice: Choice) -> list[FlagGroup]:
    """Return all flags of `train`, those of the chosen model included."""
    run = flags_of(RunConfig, skip=NO_FLAG)
    groups = [FlagGroup(title="run", flags=[*flags_of(TrainOptions), *run])]
    if choice.config is not None:
        title = f"model: {type(choice.config).__name__}, {choice.origin_of_config}"
        flags = flags_of(choice.config, "model.", SET_BY_TRAINING)
        groups.append(FlagGroup(title=title, flags=flags))
    groups.append(FlagGroup(title="training", flags=flags_of(TrainConfig, "train.")))
    groups.append(FlagGroup(title="data", flags=flags_of(DataConfig, "data.")))
    return groups


def layers(
    argv: Sequence[str], choice: Choice, flags: Sequence[Flag]
) -> tuple[list[Assignment], list[str]]:
    """Return all assignments, the strongest last, and what was wrong with any."""
    found: list[Assignment] = []
    problems: list[str] = []
    recipe = f"{RECIPE} {choice.model} {choice.preset}"
    for flat, source in ((choice.recipe, recipe), (choice.file, choice.file_name)):
        more, wrong = assignments(flat, source, flags)
        found, problems = [*found, *more], [*problems, *wrong]
    scanner = Scanner(flags)
    found += scanner.read(argv)
    problems += scanner.problems
    if not choice.model:  # the flags of a model that is not there are not wrong as well
        prefixes = ("--model.", f"{choice.file_name}: model.")
        problems = [problem for problem in problems if not problem.startswith(prefixes)]
    return found, problems


def parse_run(argv: Sequence[str], registry: Registry) -> tuple[RunConfig, TrainOptions]:
    """Return the settings of the run that a command line describes.

    Raises UserError or CombinedUserError, before anything is read or written.
    """
    choice, problems = choose(argv, registry)
    flags = [flag for group in flag_groups(choice) for flag in group.flags]
    found, wrong = layers(argv, choice, flags)
    parsed = Parsed(problems=[*problems, *wrong])
    parsed.assign(found, flags)
    parsed.values["model"] = choice.model
    options = parsed.build(TrainOptions)
    train = parsed.build(TrainConfig, "train.")
    data = parsed.build(DataConfig, "data.")
    model = parsed.change(choice.config, "model.") if choice.config is not None else None
    if model is not None:
        _check_preset(parsed, choice, model, registry)
    check_names(parsed, registry)
    parsed.check()
    assert options is not None
    more = {"model": choice.model, "preset": choice.preset, "changes": changes(found, parsed)}
    groups = {"model_config": model, "train": train, "data_config": data}
    config = parsed.build(RunConfig, more={**more, **groups})
    parsed.check()
    assert config is not None
    return config, options


def _check_preset(parsed: Parsed, choice: Choice, model: ModelConfig, registry: Registry) -> None:
    """Add a problem if a preset was named that is another model than what `--from` names."""
    if choice.origin is None or choice.named is None:
        return
    named = parsed.change(choice.named, "model.")
    if named is not None:
        problem = choice.origin.problem_with_preset(choice.preset, named, model, registry)
        parsed.problems += [problem] if problem else []


def changes(found: Sequence[Assignment], parsed: Parsed) -> dict[str, object]:
    """Return the settings that somebody wrote: in the file or on the command line."""
    own = {flag.name for flag in flags_of(TrainOptions)}
    said = sorted({one.name for one in found if not one.source.startswith(RECIPE)} - own)
    return {name: parsed.values[name] for name in said}
