"""Settings of a comparison; torch-free, because the command line makes flags of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What is compared, and how much of it is shown."""

    results: tuple[str, ...] = field(metadata={"positional": True})
    """Folders of runs or of results, or files of hypotheses with a result beside them, two or more;
    `NAME=PATH` gives one a name."""
    dataset: str = ""
    """Data set that the audio and the languages are taken from; empty for the one that the results
    name."""
    utterances: int = 200
    """Utterances that the page lists, those with most errors first."""
    players: int = 30
    """Utterances, the worst ones, whose audio the page holds; 0 for no audio."""
    output: str = ""
    """Folder for the page, the table and the numbers; empty for a new one beside the results."""
    overwrite: bool = False
    """Replace an existing output folder."""
    json: bool = False
    """Print the numbers as JSON."""

    def __post_init__(self) -> None:
        """Refuse fewer than two results, and numbers below nothing."""
        if len(self.results) < 2:
            raise ValueError(
                f"compare takes two or more results; got {len(self.results)}"
                " (asr-lab evaluate makes one)"
            )
        for name in ("utterances", "players"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
