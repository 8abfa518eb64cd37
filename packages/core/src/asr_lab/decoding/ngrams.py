"""N-gram models of words in ARPA or KenLM files, read by the package `kenlm-ex`."""

import math
import re
from pathlib import Path
from types import ModuleType

from asr_lab.utils.errors import UserError

LN10 = math.log(10)
"""ARPA files have logarithms of base 10."""


class KenLM:
    """A model that the library has read."""

    def __init__(self, library: ModuleType, path: Path) -> None:
        """Read a file; raises OSError if it is no model."""
        config = library.Config()
        config.show_progress = False
        config.arpa_complain = library.ARPALoadComplain.NONE
        self._library, self._model = library, library.Model(str(path), config)

    def start(self) -> object:
        """Return the state at the start of a sentence."""
        state = self._library.State()
        self._model.BeginSentenceWrite(state)
        return state

    def score(self, state: object, word: str) -> tuple[float, object]:
        """Return the natural log probability of a word, and the state after it."""
        after = self._library.State()
        return LN10 * float(self._model.BaseScore(state, word, after)), after

    def end(self, state: object) -> float:
        """Return the natural log probability of the end of the sentence."""
        return self.score(state, "</s>")[0]


def read_kenlm(path: Path) -> KenLM:
    """Read an ARPA file or KenLM's binary; raises UserError, in one line, if that fails."""
    try:
        import kenlm
    except ImportError:
        raise UserError(
            "a language model needs kenlm-ex; pip install 'asr-lab-core[lm]' brings it"
        ) from None
    try:
        return KenLM(kenlm, path)
    except OSError as error:
        raise UserError(f"{path} is no ARPA or KenLM language model: {_reason(error)}") from None


def _reason(error: OSError) -> str:
    """Return what KenLM found, in one line, without the places in its source that it tells."""
    told = " ".join(str(error).partition("' (")[2].split()).removesuffix(")")
    found = re.sub(r"^.* threw \w+( because .*?')?\. ", "", told)
    return found or "it cannot be read"
