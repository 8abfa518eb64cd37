"""The search that fits a decoder."""

from asr_lab.decoding.attention import attention_beam, attention_greedy
from asr_lab.decoding.ctc import ctc_greedy
from asr_lab.decoding.transducer import transducer_greedy
from asr_lab.models.base.interfaces import (
    AttentionDecoder,
    CTCDecoder,
    Decoder,
    TransducerDecoder,
)
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis


def decode(
    decoder: Decoder, encoder_output: EncoderOutput, options: DecodingOptions, vocab: int
) -> list[Hypothesis]:
    """Return one hypothesis per utterance, in order, of ids 0 to `vocab` - 1.

    CTC and transducers are searched greedily, whatever the beam. Raises
    NotImplementedError for a decoder that there is no search for.
    """
    padded = EncoderOutput(encoder_output.sequences.pad(), encoder_output.state)
    if isinstance(decoder, CTCDecoder):
        return ctc_greedy(decoder.log_probs(padded), padded.sequences.lengths, blank_id=vocab)
    if isinstance(decoder, AttentionDecoder):
        search = attention_greedy if options.beam == 1 else attention_beam
        return search(decoder, padded, options, vocab)
    if isinstance(decoder, TransducerDecoder):
        assert decoder.blank_id == vocab, "the blank follows the tokens"
        return transducer_greedy(decoder, padded, options)
    raise NotImplementedError(
        f"there is no search for a {type(decoder).__name__}; it must be a CTCDecoder, a"
        " TransducerDecoder or an AttentionDecoder"
    )
