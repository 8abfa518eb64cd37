"""Byte-pair encoding by sentencepiece, trained in process; what it has not seen becomes bytes."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING

from asr_lab.tokenizers.base import Tokenizer, outside
from asr_lab.utils.errors import UserError

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

SPACE = "\u2581"
"""The character that sentencepiece writes for a space, and so cannot tell from one."""
LOST = re.compile(f"[{SPACE}\ud800-\udfff]")
"""Characters that do not survive: the stand-in for a space, and halves of surrogate pairs."""
FIXED_TOKENS = 257
"""The unknown token, which is never emitted, and one token for each byte."""


class BPETokenizer(Tokenizer):
    """Merges of frequent pairs (Sennrich and others, 2016, arXiv 1508.07909), with byte fallback.

    `decode(encode(text))` is `text`, to the character: nothing is normalised.
    """

    kind = "bpe"

    def __init__(self, model: bytes) -> None:
        """Take a serialised sentencepiece model; raises UserError if it is not one."""
        self._model = model
        self._size = 0
        with suppress(RuntimeError):
            if model:  # sentencepiece takes nothing for a model, and complains on every use
                self._size = self._processor.get_piece_size()
        if not self._size:
            raise UserError(
                f"the tokenizer is damaged: its {len(model)} bytes are no sentencepiece model"
            )

    @cached_property
    def _processor(self) -> "SentencePieceProcessor":
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_proto=self._model)

    @property
    def size(self) -> int:
        """Number of tokens, those for bytes and unknown text included."""
        return self._size

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """Text of each token, U+2581 for a space; `<0x41>` and the like for bytes."""
        return tuple(self._processor.id_to_piece(list(range(self.size))))

    @property
    def special(self) -> Mapping[str, int]:
        """The unknown token, which sentencepiece insists on and byte fallback leaves unused."""
        return {"unknown": int(self._processor.unk_id())}

    def encode(self, text: str) -> list[int]:
        """Return the ids of the merged pieces, and of the bytes of characters never seen.

        Raises UserError for such characters if the model, made elsewhere, has no bytes.
        """
        _check(text)
        ids = list(self._processor.encode(text))
        if (unknown := self._processor.unk_id()) in ids:  # never with byte fallback
            missing = {one for one in text if unknown in self._processor.encode(one)}
            raise outside("the tokenizer", missing)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text; bytes that are no UTF-8 become replacement characters (U+FFFD)."""
        self.check_ids(ids)
        return str(self._processor.decode(list(ids)))

    def to_bytes(self) -> bytes:
        """Return the serialised sentencepiece model."""
        return self._model

    @classmethod
    def from_bytes(cls, data: bytes) -> "BPETokenizer":
        """Build from a serialised sentencepiece model; raises UserError if it is not one."""
        return cls(data)


bpe_from_bytes = BPETokenizer.from_bytes


def train_bpe(texts: Iterable[str], size: int) -> BPETokenizer:
    """Learn merges until there are `size` tokens; equal texts in equal order give equal bytes.

    A text that cannot be represented teaches nothing; `encode` refuses it by name. Raises UserError
    if the text has more characters than fit into `size`, or too few words for that many tokens:
    the message says the size that is possible.
    """
    lines = [text for text in texts if text and not LOST.search(text)]
    if not lines:
        raise UserError("a tokenizer needs text to learn from; the training text is empty")
    characters = {SPACE}.union(*(line.replace(" ", SPACE) for line in lines)) - {"\0"}
    if size < FIXED_TOKENS + len(characters):
        raise UserError(
            f"bpe needs {FIXED_TOKENS + len(characters)} tokens or more for this text: 257 fixed"
            f" ones and {len(characters)} characters; got {size}"
        )
    tokenizer = BPETokenizer(_train(lines, size))
    if tokenizer.size < size:
        raise UserError(
            f"the training text is too short for {size} bpe tokens; the most possible is"
            f" {tokenizer.size}"
        )
    return tokenizer


def _train(lines: Sequence[str], size: int) -> bytes:
    """Run sentencepiece; every setting that could make two runs differ is fixed."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,  # fewer tokens are noticed above, and the number is reported
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,
        input_sentence_size=0,
        shuffle_input_sentence=False,
        max_sentence_length=max(10, max(len(line.encode()) for line in lines)),  # longer is lost
        minloglevel=2,
    )
    return model.getvalue()


def _check(text: str) -> None:
    """Raise UserError for the characters that sentencepiece would lose."""
    if found := LOST.findall(text):
        codes = ", ".join(f"U+{ord(character):04X}" for character in sorted(set(found)))
        raise UserError(f"bpe cannot represent {codes}; remove it from the text")
