"""Settings of `asr-lab data check`; torch-free, because the command line makes flags of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class DataCheckOptions:
    """What is checked, and for what use."""

    dataset: tuple[str, ...] = field(metadata={"positional": True})
    """Data set, `NAME[/CONFIG][/SPLIT][:LOCATION]`; without a split, the one to train on."""
    against: tuple[str, ...] = ()
    """Data sets that must have nothing in common with it, such as the test set."""
    checkpoint: str = ""
    """Portable model, or folder of a run, that the data must fit: characters, steps for CTC,
    sample rate."""
    model: str = ""
    """Model that the data must fit, before there is a checkpoint; needs --config."""
    config: str = ""
    """Preset of --model."""
    tokenizer: str = ""
    """Tokenizer whose characters the texts must have, `KIND:FILE`, such as bpe:tokenizer.model."""
    min_duration: float = 0.1
    """Shortest utterance, in seconds; shorter ones are bad."""
    max_duration: float = 30.0
    """Longest utterance, in seconds; longer ones are bad."""
    workers: int = -1
    """Processes that decode; 0 for none beside this one, -1 for one for each core. The result does
    not depend on it."""
    fix: str = ""
    """New manifest (.jsonl) to write, without the bad utterances; nothing is ever overwritten."""
    list: bool = False
    """Print a line for every finding, not only the first of each kind."""
    json: bool = False
    """Print everything as JSON."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if len(self.dataset) != 1:
            raise ValueError(f"dataset must be one; got {len(self.dataset)}")
        if bool(self.model) != bool(self.config):
            raise ValueError("model and config go together: a model and the name of its preset")
        if self.checkpoint and (self.model or self.tokenizer):
            raise ValueError("checkpoint has a model and a tokenizer; leave out the other flags")
        if not 0 <= self.min_duration < self.max_duration:
            raise ValueError("min_duration must be 0 or more and below max-duration")
        if self.workers < -1:
            raise ValueError(f"workers must be -1 or more; got {self.workers}")
