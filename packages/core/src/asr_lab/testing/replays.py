"""Train a model for a few steps with all that draws random numbers, and do it again."""

from pathlib import Path

from asr_lab.data.settings import DataConfig
from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.testing.speech import write_corpus
from asr_lab.training import RunConfig, TrainConfig, Trainer
from asr_lab.training.distributed import process_group
from asr_lab.training.levels import at_level
from asr_lab.training.replaying import RecordedRun
from asr_lab.training.reproducing import Reproduction, replay

TEXTS = ("a cab", "fed", "bad dad", "face", "bed", "a deed", "cafe", "feed ace")


def replays(
    model: str, precision: str, folder: Path, *, steps: int = 3, times: int = 2, device: str = "cpu"
) -> list[Reproduction]:
    """Train a model's `tiny` preset in an empty folder, and replay the run some times.

    Every step has an entry in the chain. What the replays found is returned; of a model that can be
    replayed, `differs_at` is None in all of them.
    """
    plugins = installed_plugins()
    plugin, spec = plugins.registry.find(ModelSpec, model)
    tiny = getattr(load_target(spec.config), "tiny")()  # noqa: B009 (of a class that only the plugin knows)
    sets = {name: f"manifest:{folder / name / 'manifest.jsonl'}" for name in ("train", "dev")}
    for seed, name in enumerate(sets):
        write_corpus(folder / name, TEXTS[: 8 - 6 * seed], seed=1000 * seed)
    config = RunConfig(
        model=f"{plugin}/{spec.name}",
        preset="tiny",
        model_config=tiny,
        train=TrainConfig(
            steps=steps, eval_every=steps, digest_every=1, accumulate=2, ema=0.9, warmup=0.0
        ),
        data_config=DataConfig(
            batch_seconds=4.0, speeds=(0.9, 1.0, 1.1), noise_snr=(5.0, 20.0), gain_db=3.0
        ),
        data=(sets["train"],),
        dev_data=sets["dev"],
        eval_data=sets["dev"],
        precision=precision,
        device=device,
        output=str(folder / "run"),
    )
    Trainer(config).fit()
    run = RecordedRun.read(folder / "run", plugins)
    with process_group(device) as group, at_level(run.setup.config, group, run.folder):
        return [replay(run, group, plugins, (0, steps)) for _ in range(times)]
