"""Settings of a training run; torch-free, because the command line makes flags of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from asr_lab.data.settings import DataConfig
from asr_lab.models.base.config import ModelConfig

__all__ = ["DataConfig", "RunConfig", "TrainConfig"]

FINE_TUNING: Mapping[str, object] = {
    "train.lr": 1e-4,
    "train.epochs": 10,
    "train.warmup": 0.1,
}
"""What `--from` changes of the defaults and of a preset's recipe: weights that know something are
moved little, and for a short time."""
ABOVE_ZERO = ("lr", "accumulate", "keep", "log_every")
ZERO_OR_MORE = (
    "warmup",
    "eps",
    "weight_decay",
    "clip",
    "non_finite_limit",
    "eval_every",
    "save_every",
    "save_seconds",
    "digest_every",
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How the weights are changed."""

    epochs: float = 30.0
    """Passes over the training data; ignored if `steps` is given."""
    steps: int = 0
    """Optimizer steps; 0 to go by `epochs`."""
    lr: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "linear", "wsd", "noam", "constant"] = "cosine"
    """How the learning rate falls after the warm-up: a pure function of the step."""
    warmup: float = 0.05
    """Steps of warm-up: a fraction of all steps if below 1, else a number of steps."""
    final_lr: float = 0.02
    """Learning rate at the end, as a fraction of the peak."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of AdamW's moments."""
    eps: float = 1e-8
    """Added to AdamW's denominator."""
    weight_decay: float = 1e-3
    """AdamW's decay of matrices, embeddings included; biases and norms are not decayed."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 to leave it."""
    ema: float = 0.0
    """Decay of the moving average of the weights; 0 for none. The average is what is evaluated."""
    accumulate: int = 1
    """Micro-batches per optimizer step, over all devices."""
    compile: bool = False
    """Compile the model with torch.compile."""
    cuda_graphs: bool = False
    """Run forward and backward as CUDA graphs, so that a GPU does not wait for the host. Batches
    are padded to few shapes, which takes more of the GPU: worth it for small models."""
    non_finite: Literal["skip", "stop"] = "skip"
    """What to do with a step whose loss or gradient is not finite."""
    non_finite_limit: int = 10
    """Consecutive skipped steps after which the run stops all the same."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    eval_every: int = 0
    """Steps between evaluations on the dev set; 0 for ten in the whole run."""
    save_every: int = 0
    """Steps between checkpoints; 0 to save with each evaluation."""
    save_seconds: float = 300.0
    """Longest time between checkpoints."""
    keep: int = 2
    """Number of checkpoints kept, besides the best."""
    digest_every: int = 50
    """Steps between entries of the digest chain, which `verify` and `reproduce` compare; 0 for
    none."""

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        for name in ABOVE_ZERO:
            if not (value := getattr(self, name)) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0; got {value}")
        for name in ZERO_OR_MORE:
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"{name.replace('_', '-')} must be 0 or more; got {value}")
        if self.steps < 0 or (self.steps == 0 and not self.epochs > 0):
            raise ValueError(f"epochs must be above 0; got {self.epochs}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be from 0 to below 1; got {self.ema}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be from 0 to below 1; got {self.betas}")
        if not 0 <= self.final_lr <= 1:
            raise ValueError(f"final-lr must be from 0 to 1; got {self.final_lr}")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run; stored in `run.json`, digest included."""

    model: str
    """Qualified name of the model: `plugin/model`."""
    preset: str
    """Preset or file that the model configuration started from."""
    changes: Mapping[str, object] = field(default_factory=dict)
    """What was changed of the preset, by flag."""
    model_config: ModelConfig
    """Sizes of the model; `vocab` is set from the tokenizer before building."""
    train: TrainConfig = field(default_factory=TrainConfig)
    data_config: DataConfig = field(default_factory=DataConfig)
    data: tuple[str, ...] = ("spoken/en",)
    """Training data sets, `NAME[/CONFIG][/SPLIT][:LOCATION][*WEIGHT]`."""
    dev_data: str = ""
    """Data set for evaluation while training; empty for the dev split of the first data set."""
    eval_data: str = ""
    """Data set for the evaluation at the end; empty for the test split of the first data set."""
    precision: str = "fp32"
    """Numeric precision, by name."""
    device: str = ""
    """`cpu`, `cuda` or `cuda:N`; empty for the GPU if there is a usable one."""
    seed: int = 0
    """Seed of everything random."""
    repro: Literal["auto", "off", "replay", "exact", "elastic"] = "auto"
    """What is promised about the bits: the same run has them again (replay), so has one that was
    killed and resumed (exact), so has one on other numbers of processes (elastic). auto is exact on
    the CPU and off on GPUs."""
    output: str = ""
    """Folder of the run; empty for `outputs/MODEL-PRESET-NNNN`."""
    overwrite: bool = False
    """Replace an existing folder of the run."""
    on_bad_utterance: Literal["fail", "skip"] = "fail"
    """What to do with an utterance that cannot be used."""
    trackers: tuple[str, ...] = ()
    """Where metrics go besides `metrics.jsonl`."""
    from_: str = ""
    """Model to go on from: a best.pt, the folder of a run, one of its checkpoints, or files of
    another system. Its settings, its tokenizer and its weights are taken over."""
    new_tokenizer: bool = False
    """With `--from`: train a tokenizer on the training text, and make the weights anew whose size
    follows the vocabulary."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.new_tokenizer and not self.from_:
            raise ValueError("new-tokenizer needs --from; a run from scratch always trains its own")
