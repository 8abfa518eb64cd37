"""Search: from the scores of a decoder to one hypothesis per utterance."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.decoding.attention import attention_beam, attention_greedy
    from asr_lab.decoding.ctc import ctc_greedy
    from asr_lab.decoding.search import decode
    from asr_lab.decoding.streaming import StreamingRecogniser
    from asr_lab.decoding.transducer import transducer_greedy
else:
    __getattr__ = lazy_attributes(
        __name__,
        StreamingRecogniser="streaming",
        attention_beam="attention",
        attention_greedy="attention",
        ctc_greedy="ctc",
        decode="search",
        transducer_greedy="transducer",
    )

__all__ = [
    "StreamingRecogniser",
    "attention_beam",
    "attention_greedy",
    "ctc_greedy",
    "decode",
    "transducer_greedy",
]
