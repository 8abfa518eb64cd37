"""The search that fits a decoder."""

from asr_lab.decoding.attention import attention_beam, attention_greedy
from asr_lab.decoding.ctc import ctc_greedy
from asr_lab.decoding.ctc_beam import ctc_beam_search
from asr_lab.decoding.label_likelihood import label_likelihoods
from asr_lab.decoding.language_model import fusion
from asr_lab.decoding.transducer import transducer_greedy
from asr_lab.decoding.transducer_beam import transducer_beam_search
from asr_lab.models.base.interfaces import (
    AttentionDecoder,
    CTCDecoder,
    Decoder,
    TransducerDecoder,
)
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis
from asr_lab.utils.errors import UserError


def decode(
    decoder: Decoder, encoder_output: EncoderOutput, options: DecodingOptions, vocab: int
) -> list[Hypothesis]:
    """Return one hypothesis per utterance, in order, of ids 0 to `vocab` - 1.

    A beam of 1 is greedy search. Raises NotImplementedError for a decoder that there is no search
    for, and UserError for a language model that is not read or that the search has no use for.
    """
    padded = EncoderOutput(encoder_output.sequences.pad(), encoder_output.state)
    if isinstance(decoder, CTCDecoder):
        log_probs, lengths = decoder.log_probs(padded), padded.sequences.lengths
        if options.beam == 1:
            return ctc_greedy(log_probs, lengths, blank_id=vocab)
        return ctc_beam_search(log_probs, lengths, vocab, options.beam, fusion(options))
    if options.lm:
        raise UserError(f"lm works with CTC decoders; this one is a {type(decoder).__name__}")
    if isinstance(decoder, AttentionDecoder):
        search = attention_greedy if options.beam == 1 else attention_beam
        return search(decoder, padded, options, vocab)
    if isinstance(decoder, TransducerDecoder):
        assert decoder.blank_id == vocab, "the blank follows the tokens"
        find = transducer_greedy if options.beam == 1 else transducer_beam_search
        return label_likelihoods(decoder, padded, find(decoder, padded, options))
    raise NotImplementedError(
        f"there is no search for a {type(decoder).__name__}; it must be a CTCDecoder, a"
        " TransducerDecoder or an AttentionDecoder"
    )
