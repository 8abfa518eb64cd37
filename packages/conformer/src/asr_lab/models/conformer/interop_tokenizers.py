"""transformers' `tokenizer.json` from and to sentencepiece models.

Both say the same of a tokenizer: its pieces, and how text is normalised. The JSON has the merges of
byte-pair encoding in order, where a sentencepiece model has a score for each piece.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import cast

from asr_lab.tokenizers import BPETokenizer
from asr_lab.tokenizers.bpe import SPACE
from asr_lab.tokenizers.sentencepieces import (
    BPE,
    BYTE,
    BYTE_PIECE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    Pieces,
    read_pieces,
    write_pieces,
)
from asr_lab.utils.errors import UserError


def from_json(text: str, blank_id: int) -> BPETokenizer:
    """Return the tokenizer of a `tokenizer.json` without its blank.

    Raises UserError for one that is not of byte-pair encoding or unigrams over the sentencepiece
    alphabet.
    """
    try:
        content = json.loads(text)
        model, added = content["model"], content["added_tokens"]
        kind = {"BPE": BPE, "Unigram": UNIGRAM}.get(model["type"])
        if kind is None:
            raise UserError(
                f"tokenizer.json is a {model['type']!r:.40}; only BPE and Unigram are read"
            )
        scores = _bpe_scores(model) if kind == BPE else [(p, float(s)) for p, s in model["vocab"]]
        names = dict(enumerate(scores))
        for token in added:
            names.setdefault(int(token["id"]), (token["content"], 0.0))
        names.pop(blank_id, None)
        special = {token["content"]: bool(token["special"]) for token in added}
        unknown = model.get("unk_token") or scores[model["unk_id"]][0]
        ordered = [names[index] for index in sorted(names)]
        pieces = [Piece(name, score, _type(name, unknown, special)) for name, score in ordered]
        return BPETokenizer(write_pieces(_pieces(content, pieces, kind)))
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"tokenizer.json is damaged: {type(error).__name__}: {error}") from error


def to_json(tokenizer: BPETokenizer, blank_id: int, blank: str) -> str:
    """Return a `tokenizer.json` of the same tokens, with a blank in its place."""
    found = read_pieces(tokenizer.to_bytes())
    pieces = list(found.pieces)
    pieces_of_text = {piece.text for piece in pieces}
    if blank in pieces_of_text:
        raise UserError(f"the tokenizer has a token {blank!r}, which is the blank's name there")
    marked = [
        (i + (i >= blank_id), p) for i, p in enumerate(pieces) if p.type in (CONTROL, USER_DEFINED)
    ]
    added = [_added(index, piece.text, piece.type == CONTROL) for index, piece in marked]
    added.append(_added(blank_id, blank, True))
    unknown = next(piece.text for piece in pieces if piece.type == UNKNOWN)
    vocabulary = {piece.text: i + (i >= blank_id) for i, piece in enumerate(pieces)}
    if blank_id < len(pieces):
        vocabulary[blank] = blank_id
    scheme = {"replacement": SPACE, "prepend_scheme": "always" if found.prefix else "never"}
    space = {"type": "Metaspace", **scheme, "split": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": dict(sorted(vocabulary.items(), key=lambda item: item[1])),
        "merges": _merges(pieces),
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: cast(int, token["id"])),
        "normalizer": {"type": "Sequence", "normalizers": _normalizers(found)},
        "pre_tokenizer": space,
        "post_processor": None,
        "decoder": _decoder(found) if found.byte_fallback else space,
        "model": _unigrams(found, blank_id, blank) if found.kind == UNIGRAM else model,
    }
    return json.dumps(content, ensure_ascii=False, indent=2)


def _unigrams(found: Pieces, blank_id: int, blank: str) -> dict[str, object]:
    """Return a model that chooses the pieces with the greatest sum of scores."""
    listed: list[list[object]] = [[piece.text, piece.score] for piece in found.pieces]
    if blank_id < len(listed):
        listed.insert(blank_id, [blank, 0.0])
    unknown = next(piece.text for piece in found.pieces if piece.type == UNKNOWN)
    return {
        "type": "Unigram",
        "unk_id": [text for text, _ in listed].index(unknown),
        "vocab": listed,
        "byte_fallback": found.byte_fallback,
    }


def _bpe_scores(model: Mapping[str, object]) -> list[tuple[str, float]]:
    """Return pieces and scores: the earlier a merge makes a piece, the higher."""
    vocabulary, merges = cast(dict[str, int], model["vocab"]), cast(list[object], model["merges"])
    ranks: dict[str, int] = {}
    for merge in merges:
        parts = merge.split(" ") if isinstance(merge, str) else cast(list[str], merge)
        ranks.setdefault("".join(parts), len(ranks))
    ordered = sorted(vocabulary, key=lambda piece: vocabulary[piece])
    if [vocabulary[piece] for piece in ordered] != list(range(len(ordered))):
        raise ValueError("its ids are not 0, 1, 2, …")
    rest = iter(range(len(ranks), len(ranks) + len(ordered)))
    return [(piece, -float(ranks[piece] if piece in ranks else next(rest))) for piece in ordered]


def _type(text: str, unknown: str, special: Mapping[str, bool]) -> int:
    if text == unknown:
        return UNKNOWN
    if BYTE_PIECE.fullmatch(text):
        return BYTE
    if text in special:
        return CONTROL if special[text] else USER_DEFINED
    return NORMAL


def _pieces(content: Mapping[str, object], pieces: Sequence[Piece], kind: int) -> Pieces:
    """Return the pieces with the rules by which text is normalised."""
    normalizer = cast(dict[str, object], content.get("normalizer") or {})
    steps = cast(list[dict[str, object]], normalizer.get("normalizers", [normalizer]))
    space = cast(dict[str, object], content.get("pre_tokenizer") or {})
    rules = [step["precompiled_charsmap"] for step in steps if step.get("type") == "Precompiled"]
    return Pieces(
        pieces=pieces,
        kind=kind,
        character_map=base64.b64decode(cast(str, rules[0])) if rules else b"",
        prefix=space.get("prepend_scheme", "always") != "never",
        squeeze=any(step.get("type") == "Strip" for step in steps),
    )


def _normalizers(found: Pieces) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = []
    if found.character_map:
        encoded = base64.b64encode(found.character_map).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if found.squeeze:
        steps.append({"type": "Strip", "strip_left": False, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": SPACE})
    return steps


def _decoder(found: Pieces) -> dict[str, object]:
    """Return a decoder that joins bytes to characters."""
    steps: list[dict[str, object]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": int(found.prefix), "stop": 0},
    ]
    return {"type": "Sequence", "decoders": steps}


def _merges(pieces: Sequence[Piece]) -> list[list[str]]:
    """Return every pair of pieces that makes a piece, the one with the highest score first."""
    known = {piece.text for piece in pieces}
    found = [
        (piece.score, cut, len(piece.text) - cut, piece.text[:cut], piece.text[cut:])
        for piece in pieces
        for cut in range(1, len(piece.text))
        if piece.text[:cut] in known and piece.text[cut:] in known
    ]
    found.sort(key=lambda merge: merge[:3], reverse=True)
    return [[left, right] for *_, left, right in found]


def _added(index: int, text: str, special: bool) -> dict[str, object]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": text, **flags, "special": special}
