"""Settings of a training run; torch-free, because the command line makes flags of them."""

from dataclasses import dataclass, field
from typing import Literal

from asr_lab.models.base.config import ModelConfig


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
    """AdamW's decay of matrices; biases, norms and embeddings are not decayed."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 to leave it."""
    ema: float = 0.0
    """Decay of the moving average of the weights; 0 for none. The average is what is evaluated."""
    accumulate: int = 1
    """Micro-batches per optimizer step, over all devices."""
    compile: bool = False
    """Compile the model with torch.compile."""
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

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        positive = {"lr": self.lr, "accumulate": self.accumulate, "keep": self.keep}
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0; got {value}")
        if self.steps < 0 or (self.steps == 0 and not self.epochs > 0):
            raise ValueError(f"epochs must be above 0; got {self.epochs}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be from 0 to below 1; got {self.ema}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How audio becomes batches."""

    tokenizer: str = "characters"
    """Kind of tokenizer, trained on the training text: characters or bpe."""
    vocab: int = 1024
    """Number of tokens of a trained tokenizer; characters take what the text has."""
    batch_seconds: float = 120.0
    """Seconds of audio in a micro-batch, padding counted."""
    max_utterances: int = 256
    """Most utterances in a micro-batch."""
    min_duration: float = 0.1
    """Shortest utterance, in seconds; shorter ones are bad utterances."""
    max_duration: float = 30.0
    """Longest utterance, in seconds; longer ones are bad utterances."""
    speeds: tuple[float, ...] = (1.0,)
    """Speed factors that the plan draws from."""
    gain_db: float = 0.0
    """Largest change of level, in dB, either way; 0 for none."""
    noise_snr: tuple[float, float] = (0.0, 0.0)
    """Range of signal-to-noise ratios of added noise, in dB; 0 0 for none."""
    noise_files: str = ""
    """Folder of noise recordings; empty for coloured noise made on the fly."""
    impulse_responses: str = ""
    """Folder of impulse responses for reverberation; empty for none."""
    freq_masks: int = 2
    """SpecAugment: number of frequency masks."""
    freq_width: int = 27
    """SpecAugment: largest width of a frequency mask, in mel bands."""
    time_masks: int = 2
    """SpecAugment: number of time masks."""
    time_width: float = 0.05
    """SpecAugment: largest width of a time mask, as a fraction of the utterance."""
    workers: int = 2
    """Loader processes; the result does not depend on it."""
    prefetch: int = 4
    """Micro-batches that each worker prepares ahead; the result does not depend on it."""

    def __post_init__(self) -> None:
        """Refuse values that make no batch."""
        for name in ("batch_seconds", "max_utterances", "max_duration"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0")
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError(f"speeds must be above 0; got {self.speeds}")
        if self.workers < 0 or self.prefetch < 1:
            raise ValueError("workers must be 0 or more and prefetch 1 or more")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides a run; stored in `run.json`, digest included."""

    model: str
    """Qualified name of the model: `plugin/model`."""
    preset: str
    """Preset or file that the model configuration started from."""
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
    output: str = ""
    """Folder of the run; empty for `outputs/MODEL-PRESET-NNNN`."""
    overwrite: bool = False
    """Replace an existing folder of the run."""
    on_bad_utterance: Literal["fail", "skip"] = "fail"
    """What to do with an utterance that cannot be used."""
    trackers: tuple[str, ...] = ()
    """Where metrics go besides `metrics.jsonl`."""
