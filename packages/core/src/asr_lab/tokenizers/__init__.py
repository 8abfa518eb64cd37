"""Tokenizers: text to token ids and back, without torch."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.tokenizers.base import (
        CharacterTokenizer,
        Tokenizer,
        load_tokenizer,
        train_tokenizer,
    )
    from asr_lab.tokenizers.bpe import BPETokenizer
else:
    __getattr__ = lazy_attributes(
        __name__,
        BPETokenizer="bpe",
        CharacterTokenizer="base",
        Tokenizer="base",
        load_tokenizer="base",
        train_tokenizer="base",
    )

__all__ = ["BPETokenizer", "CharacterTokenizer", "Tokenizer", "load_tokenizer", "train_tokenizer"]
