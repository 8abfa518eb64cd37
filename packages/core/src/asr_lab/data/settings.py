"""Settings of data and augmentation; torch-free: the command line makes flags of them."""

from dataclasses import dataclass

ZERO_OR_MORE = ("min_duration", "gain_db", "freq_masks", "freq_width", "time_masks", "cache_hours")
FRACTIONS = ("time_width", "dev_fraction")


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
    dev_fraction: float = 0.02
    """Part of the training utterances held out where the data set has no dev split."""
    cache_hours: float = 20.0
    """Corpora up to this many hours are decoded once and kept in memory (0.12 GB an hour)."""
    workers: int = 2
    """Loader processes; the result does not depend on it. None are used on the CPU for a corpus
    that is kept in memory."""
    prefetch: int = 4
    """Micro-batches that each worker prepares ahead; the result does not depend on it."""

    def __post_init__(self) -> None:
        """Refuse values that make no batch."""
        for name in ("batch_seconds", "max_utterances", "max_duration"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0")
        for name in ZERO_OR_MORE:
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"{name.replace('_', '-')} must be 0 or more; got {value}")
        for name in FRACTIONS:
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name.replace('_', '-')} must be from 0 to 1; got {value}")
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError(f"speeds must be above 0; got {self.speeds}")
        if self.workers < 0 or self.prefetch < 1:
            raise ValueError("workers must be 0 or more and prefetch 1 or more")
