"""Search: from the scores of a decoder to one hypothesis per utterance."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.decoding.alignment import Alignment, ctc_align
    from asr_lab.decoding.attention import attention_beam, attention_greedy
    from asr_lab.decoding.ctc import ctc_greedy
    from asr_lab.decoding.ctc_beam import ctc_beam_search
    from asr_lab.decoding.language_model import LanguageModel, with_language_model
    from asr_lab.decoding.search import decode
    from asr_lab.decoding.streaming import StreamingRecogniser
    from asr_lab.decoding.timestamps import Timed, seconds_per_step, token_spans, word_times
    from asr_lab.decoding.transducer import transducer_greedy
    from asr_lab.decoding.transducer_beam import transducer_beam_search
else:
    __getattr__ = lazy_attributes(
        __name__,
        Alignment="alignment",
        LanguageModel="language_model",
        Timed="timestamps",
        StreamingRecogniser="streaming",
        attention_beam="attention",
        attention_greedy="attention",
        ctc_align="alignment",
        ctc_beam_search="ctc_beam",
        ctc_greedy="ctc",
        decode="search",
        seconds_per_step="timestamps",
        token_spans="timestamps",
        transducer_beam_search="transducer_beam",
        transducer_greedy="transducer",
        with_language_model="language_model",
        word_times="timestamps",
    )

__all__ = [
    "Alignment",
    "LanguageModel",
    "StreamingRecogniser",
    "Timed",
    "attention_beam",
    "attention_greedy",
    "ctc_align",
    "ctc_beam_search",
    "ctc_greedy",
    "decode",
    "seconds_per_step",
    "token_spans",
    "transducer_beam_search",
    "transducer_greedy",
    "with_language_model",
    "word_times",
]
