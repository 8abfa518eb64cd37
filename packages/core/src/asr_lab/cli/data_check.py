"""`asr-lab data check` behind its flags: what the data must fit, what is printed and written."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr_lab.data.checking.options import DataCheckOptions
from asr_lab.plugins.loading import Plugins, installed_plugins
from asr_lab.plugins.specs import ModelSpec, load_target
from asr_lab.utils.errors import UserError, unknown

if TYPE_CHECKING:
    from asr_lab.data.checking.rules import Demands
    from asr_lab.models.base.config import ModelConfig
    from asr_lab.tokenizers.base import Tokenizer

CLEAN, NOT_CLEAN = 0, 1


def check(options: DataCheckOptions) -> int:
    """Check, print, and write the clean manifest if one is asked for; return the exit status.

    Raises UserError for what cannot be checked, before anything is decoded.
    """
    from asr_lab.data.checking.check import check_data
    from asr_lab.data.checking.cleaning import check_target, write_clean
    from asr_lab.data.checking.wording import lines
    from asr_lab.data.names import read_dataset, resolve

    plugins = installed_plugins()
    named = resolve(options.dataset[0], plugins.registry, "train")
    others = [resolve(name, plugins.registry, "test") for name in options.against]
    utterances = read_dataset(named)
    against = {other.typed: read_dataset(other) for other in others}
    if options.fix:
        check_target(Path(options.fix), utterances)
    needs = demands(options, [utterance.text for utterance in utterances], plugins)
    workers = (os.cpu_count() or 1) if options.workers < 0 else options.workers
    with progress_bar(len(utterances) + sum(map(len, against.values()))) as advance:
        report = check_data(
            named.typed, utterances, needs, against=against, workers=workers, progress=advance
        )
    written = ""
    if options.fix:
        kept = write_clean(Path(options.fix), named, utterances, report.bad)
        written = f"{options.fix} holds the {kept:,} good ones"
    if options.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        print("\n".join(lines(report, options.list)))
        print(verdict(len(report.bad), written, bool(utterances[0].audio.size)))
    return CLEAN if report.clean else NOT_CLEAN


def verdict(bad: int, written: str, sharded: bool) -> str:
    """Return the last line: clean or not, and what to do."""
    if not bad:
        return f"clean{f'; {written}' if written else ''}"
    counted = f"not clean: {bad:,} bad {'utterance' if bad == 1 else 'utterances'}"
    if written or sharded:
        return f"{counted}{f'; {written}' if written else ''}"
    return f"{counted}; --fix clean.jsonl writes a manifest without them"


def demands(options: DataCheckOptions, texts: Sequence[str], plugins: Plugins) -> "Demands":
    """Return what the data must fit; with a model and no tokenizer, one is made of the texts."""
    from asr_lab.data.checking.rules import Demands

    tokenizer, config = None, None
    if options.checkpoint:
        tokenizer, config = _of_checkpoint(Path(options.checkpoint), plugins)
    if options.tokenizer:
        tokenizer = _tokenizer(options.tokenizer)
    if options.model:
        tokenizer = tokenizer or _characters(texts)
        config = replace(_config(options, plugins), vocab=tokenizer.size)
    return Demands(
        min_duration=options.min_duration,
        max_duration=options.max_duration,
        tokenizer=tokenizer,
        steps=ctc_steps(config) if config is not None and config.uses_ctc else None,
        sample_rate=config.sample_rate if config is not None else 0,
    )


def ctc_steps(config: "ModelConfig") -> Callable[[float], int]:
    """Return a function from seconds of audio to encoder steps."""
    from asr_lab.audio.recipes import recipe

    features = recipe(config.features, config.mels, config.sample_rate)
    return lambda seconds: config.steps(features.frames(round(seconds * config.sample_rate)))


def _of_checkpoint(path: Path, plugins: Plugins) -> "tuple[Tokenizer, ModelConfig]":
    from asr_lab.checkpoints import read_portable
    from asr_lab.checkpoints.building import config_of, tokenizer_of

    portable = read_portable(path / "best.pt" if path.is_dir() else path)
    config = config_of(portable, plugins)
    return tokenizer_of(portable, config), config


def _tokenizer(text: str) -> "Tokenizer":
    from asr_lab.tokenizers import load_tokenizer

    kind, colon, path = text.partition(":")
    if not colon or not path:
        raise UserError(f"--tokenizer is written KIND:FILE, such as bpe:FILE; got {text!r}")
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"--tokenizer: cannot read {path}: {reason}") from error
    return load_tokenizer(kind, content)


def _characters(texts: Sequence[str]) -> "Tokenizer":
    from asr_lab.tokenizers import train_tokenizer

    return train_tokenizer("characters", texts, sys.maxunicode)


def _config(options: DataCheckOptions, plugins: Plugins) -> "ModelConfig":
    from asr_lab.models.base.config import ModelConfig

    _, spec = plugins.registry.find(ModelSpec, options.model)
    if options.config not in spec.presets:
        raise unknown(f"preset of {options.model}", options.config, spec.presets)
    config_class = load_target(spec.config)
    assert isinstance(config_class, type) and issubclass(config_class, ModelConfig)
    config = getattr(config_class, options.config)()
    assert isinstance(config, ModelConfig)
    return config


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on standard error if it is a terminal; what is yielded moves it by one."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("decoding", total=total)
        done, every = 0, math.ceil(total / 500)

        def advance() -> None:
            nonlocal done
            done += 1
            if done % every == 0:
                progress.update(task, completed=done)

        yield advance
