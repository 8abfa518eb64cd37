"""Settings of an evaluation; torch-free, because the command line makes flags of them."""

from dataclasses import dataclass, field
from typing import Literal

from asr_lab.models.base.options import DecodingOptions
from asr_lab.utils.metrics import Rule


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is evaluated, on what, and how."""

    checkpoint: str
    """Portable model such as outputs/best.pt, or the folder of a run."""
    dataset: str
    """Data set, `NAME[/CONFIG][/SPLIT][:LOCATION]`; `asr-lab datasets` lists names."""
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """How scores become text."""
    rule: Rule = "levenshtein"
    """What counts as an error: the fewest edits, or those that NIST's sclite finds."""
    batch_seconds: float = 120.0
    """Seconds of audio in a batch, padding counted; the result does not depend on it."""
    batch_size: int = 0
    """Utterances in a batch, whatever their length; 0 for as many as `batch-seconds` hold."""
    order: Literal["longest", "dataset", "shuffled"] = "longest"
    """Order in which utterances are recognised: longest first pads least; the hypotheses do not
    depend on it and are written in the order of the data set."""
    warm_up: int | None = None
    """Batches that are recognised once more, before the clock starts; none for 2 on a GPU and 0
    elsewhere."""
    max_duration: float = 30.0
    """Longest utterance, in seconds; longer ones are bad utterances."""
    workers: int = 2
    """Loader processes; the result does not depend on it."""
    precision: str = "fp32"
    """Numeric precision, by name."""
    device: str = ""
    """`cpu`, `cuda` or `cuda:N`; empty for the GPU if there is a usable one."""
    devices: int = 1
    """GPUs, from the first on, or on the CPU processes, that share the utterances; the hypotheses
    do not depend on it."""
    on_bad_utterance: Literal["fail", "skip"] = "fail"
    """What to do with an utterance whose audio cannot be used, or that cannot be recognised."""
    write: tuple[Literal["trn", "stm", "ctm"], ...] = ()
    """Write what was said and recognised for NIST's SCTK too, not normalised."""
    output: str = ""
    """Folder for the result and the hypotheses; empty for a new one beside the checkpoint."""
    overwrite: bool = False
    """Replace an existing output folder."""
    json: bool = False
    """Print the result as JSON."""

    def __post_init__(self) -> None:
        """Refuse values that make no batch."""
        for name in ("batch_seconds", "max_duration"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0")
        for name, least in (("workers", 0), ("batch_size", 0), ("warm_up", 0), ("devices", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name.replace('_', '-')} must be {least} or more; got {value}")


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What is scored again, and how."""

    hypotheses: tuple[str, ...] = field(metadata={"positional": True})
    """File of hypotheses: JSON Lines with `reference` and `hypothesis`, as evaluate writes them,
    or `.trn`, `.stm` or `.ctm`."""
    references: str = ""
    """TRN or STM file with the references of such a file; empty for `references.trn` or
    `references.stm` beside it."""
    normalizer: str = "basic"
    """What is made equal before words are compared, by name or by the id of a result."""
    rule: Rule = "levenshtein"
    """What counts as an error: the fewest edits, or those that NIST's sclite finds."""
    write: Literal["", "trn", "stm", "ctm"] = ""
    """Write the normalised texts for NIST's SCTK too; times in a CTM are shared out evenly."""
    output: str = ""
    """Folder for the result and the hypotheses; empty for a new one beside the hypotheses."""
    overwrite: bool = False
    """Replace an existing output folder."""
    json: bool = False
    """Print the result as JSON."""

    def __post_init__(self) -> None:
        """Refuse several files."""
        if len(self.hypotheses) != 1:
            raise ValueError(f"score takes one file of hypotheses; got {len(self.hypotheses)}")


@dataclass(frozen=True, kw_only=True)
class TranscribeOptions:
    """What is transcribed, by what, and how that is written down."""

    files: tuple[str, ...] = field(metadata={"positional": True})
    """Audio files, and folders of them with the folders below; any kind that libsndfile reads."""
    checkpoint: str
    """Portable model such as outputs/best.pt, or the folder of a run."""
    format: Literal["txt", "json", "srt", "vtt", "ctm"] = "txt"
    """Plain text (of several files `path<TAB>text`), JSON Lines, subtitles, or NIST's CTM."""
    output: str = ""
    """File, or folder for a file for each recording; a folder is one that exists, or whose name
    ends with / or has no ending. Empty for the terminal."""
    overwrite: bool = False
    """Replace files that exist."""
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """How scores become text."""
    chunk_seconds: float = 30.0
    """Longest audio that is recognised at once; longer files are cut into overlapping chunks whose
    texts are joined. Models trained on short utterances may want less."""
    context_seconds: float = 0.0
    """Seconds to either side of a moment that full attention may hear; 0 for all that there are.
    As many as training utterances had keep a model at home in long chunks."""
    stream: bool = False
    """Follow each file as a stream, for a model that streams: it hears no more ahead than the
    look-ahead that is printed, and there are no chunks."""
    batch_seconds: float = 120.0
    """Seconds of audio in a batch, padding counted; the result does not depend on it."""
    precision: str = "fp32"
    """Numeric precision, by name."""
    device: str = ""
    """`cpu`, `cuda` or `cuda:N`; empty for the GPU if there is a usable one."""
    on_bad_utterance: Literal["fail", "skip"] = "skip"
    """What to do with a file that cannot be used: `skip` transcribes the others, names it and
    exits with status 1 at the end; `fail` stops at once with status 2 and writes nothing."""

    def __post_init__(self) -> None:
        """Refuse values that make no chunk, batch or context."""
        least_of = (("chunk_seconds", 1), ("batch_seconds", 0.1), ("context_seconds", 0))
        for name, least in least_of:
            if not getattr(self, name) >= least:
                raise ValueError(f"{name.replace('_', '-')} must be {least:g} or more")
