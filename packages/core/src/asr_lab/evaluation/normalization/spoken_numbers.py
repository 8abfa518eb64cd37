"""Spoken numbers of English in digits, by the rules of the English leaderboard.

They are Whisper's (Radford et al. 2022, appendix C), with what these do to sentences that nobody
foresaw: the same mistakes must be made on both sides, and by everybody who compares.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

Kind = Literal["zero", "small", "ten", "scale", "sign", "money", "part", "link"]
"""Small numbers are 1 to 19; a part is a percentage; a link stands between two numbers."""


@dataclass(frozen=True)
class Word:
    """What a word says that can be part of a number."""

    kind: Kind
    number: int = 0
    mark: str = ""
    """What is written behind the number (`th`), or in front of it (`$`)."""

    @property
    def plain(self) -> bool:
        """True if the number may go on."""
        return not self.mark


def spoken_numbers(text: str) -> str:
    """Return a text in lower case, without punctuation, with its numbers in digits."""
    text = _halves(text)
    text = re.sub(r"([a-z])([0-9])", r"\1 \2", text)
    text = re.sub(r"([0-9])([a-z])", r"\1 \2", text)
    text = re.sub(r"([0-9])\s+(st|nd|rd|th|s)\b", r"\1\2", text)
    text = " ".join(_Sentence(text.split()).read())
    text = re.sub(r"([€£$])([0-9]+) (?:and )?¢([0-9]{1,2})\b", _dollars_and_cents, text)
    # Any character between the 0 and the cents will do: that is the rule.
    text = re.sub(r"[€£$]0.([0-9]{1,2})\b", lambda found: f"¢{int(found[1])}", text)
    return re.sub(r"\b1(s?)\b", r"one\1", text)


def _dollars_and_cents(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}.{int(found[3]):02d}"


def _halves(text: str) -> str:
    """Make `and a half` behind a number `point five`; at the start of a text it is dropped."""
    *before, rest = re.split(r"\band\s+a\s+half\b", text)
    parts: list[str] = []
    for part in before:
        if words := part.split():
            last = WORDS.get(words[-1])
            counts = last is not None and last.plain and last.kind in (*DIGITS, "scale")
            parts += [part, "point five" if counts else "and a half"]
    return " ".join([*parts, rest] if rest.strip() else parts)


@dataclass
class _Sentence:
    """A sentence while it is read: the number that is pending, and what is written already."""

    words: list[str]
    at: int = 0
    pending: int | str | None = None
    """Text is a number that is spelt out digit by digit, or has a decimal point."""
    prefix: str = ""
    """Sign or currency of what is written next."""
    written: list[str] = field(default_factory=list)

    def read(self) -> list[str]:
        """Return the words of the sentence with its numbers in digits."""
        while self.at < len(self.words):
            word = self.words[self.at]
            if _NUMBER.fullmatch(word[word[0] in MONEY :]):
                self._digits(word)
            elif meaning := WORDS.get(word):
                _READERS[meaning.kind](self, word, meaning)
            else:
                self._finish()
                self._write(word)
            self.at += 1
        self._finish()
        return self.written

    def _near(self, step: int) -> Word | None:
        """Return what a word before or behind this one can say in a number."""
        index = self.at + step
        return WORDS.get(self.words[index]) if 0 <= index < len(self.words) else None

    def _goes_on(self) -> bool:
        """Return True if the next word can belong to a number."""
        return self._near(1) is not None or self._digits_follow()

    def _digits_follow(self) -> bool:
        return self.at + 1 < len(self.words) and bool(_NUMBER.fullmatch(self.words[self.at + 1]))

    def _write(self, text: str) -> None:
        self.written.append(self.prefix + text)
        self.prefix, self.pending = "", None

    def _finish(self) -> None:
        """Write the pending number, if there is one."""
        if self.pending is not None:
            self._write(str(self.pending))

    def _continue(self, number: int | str, mark: str) -> None:
        """Go on with a number; a plural or an ordinal ends it."""
        if mark:
            self._write(f"{number}{mark}")
        else:
            self.pending = number

    def _digits(self, word: str) -> None:
        if isinstance(self.pending, str) and self.pending.endswith("."):
            self.pending += word
            return
        self._finish()
        if word[0] in MONEY:
            self.prefix, word = word[0], word[1:]
        value = Fraction(word)
        self.pending = value.numerator if value.denominator == 1 else word

    def _zero(self, _: str, __: Word) -> None:
        self.pending = f"{self.pending or ''}0"

    def _small(self, _: str, word: Word) -> None:
        value, number, before = self.pending, word.number, self._near(-1)
        kind = before.kind if before is not None and before.plain else ""
        if value is None:
            joined: int | str = number
        elif isinstance(value, str) or kind == "small":
            cut = kind == "ten" and number < 10
            joined = f"{str(value)[:-1] if cut else value}{number}"
        else:
            fits = value % (10 if number < 10 else 100) == 0
            joined = value + number if fits else f"{value}{number}"
        self._continue(joined, word.mark)

    def _ten(self, _: str, word: Word) -> None:
        value = self.pending
        if value is None:
            joined: int | str = word.number
        else:
            fits = isinstance(value, int) and value % 100 == 0
            joined = int(value) + word.number if fits else f"{value}{word.number}"
        self._continue(joined, word.mark)

    def _scale(self, _: str, word: Word) -> None:
        value = self.pending
        if value is None:
            joined = word.number
        elif isinstance(value, int):
            joined = value // 1000 * 1000 + value % 1000 * word.number
        elif (product := _whole_product(value, word.number)) is not None:
            joined = product
        else:
            self._finish()
            joined = word.number
        self._continue(joined, word.mark)

    def _sign(self, text: str, word: Word) -> None:
        self._finish()
        if self._goes_on():
            self.prefix = word.mark
        else:
            self._write(text)

    def _money(self, text: str, word: Word) -> None:
        if self.pending is None:
            self._write(text)
        else:
            self.prefix = word.mark
            self._finish()

    def _part(self, text: str, _: Word) -> None:
        per_cent = text == "per" and self.words[self.at + 1 : self.at + 2] == ["cent"]
        if self.pending is not None and (text == "percent" or per_cent):
            self._write(f"{self.pending}%")
            self.at += per_cent
        else:
            self._finish()
            self._write(text)

    def _link(self, text: str, _: Word) -> None:
        if not self._goes_on():
            self._finish()
            self._write(text)
        elif text == "point":
            self._point()
        elif text == "and":
            before = self._near(-1)
            if before is None or not before.plain or before.kind != "scale":
                self._finish()
                self._write(text)
        else:
            self._repeat(text)

    def _point(self) -> None:
        """Begin decimals; before `hundred` and the like a point is dropped."""
        after = self._near(1)
        if self._digits_follow() or (after and after.plain and after.kind in DIGITS):
            self.pending = f"{self.pending or ''}."

    def _repeat(self, text: str) -> None:
        """Write the next number twice or three times."""
        after = self._near(1)
        if after and after.plain and after.kind in ("zero", "small"):
            times = 2 if text == "double" else 3
            self.pending = f"{self.pending or ''}{str(after.number) * times}"
            self.at += 1
        else:
            self._finish()
            self._write(text)


def _whole_product(number: str, factor: int) -> int | None:
    """Return a whole number, or None for a text that is no number or a product with decimals."""
    try:
        product = Fraction(number) * factor
    except ValueError:
        return None
    return product.numerator if product.denominator == 1 else None


def _vocabulary() -> dict[str, Word]:
    small = (
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
        " sixteen seventeen eighteen nineteen"
    ).split()
    tens = "twenty thirty forty fifty sixty seventy eighty ninety".split()
    scales = (
        "thousand million billion trillion quadrillion quintillion sextillion septillion octillion"
        " nonillion decillion"
    ).split()
    ordinals = "first second third fourth fifth sixth seventh eighth nineth tenth eleventh twelfth"
    # Whisper derives `nineth`; `ninth` stays a word.
    ordinal = [*ordinals.split(), *(f"{name}th" for name in small[12:])]
    found = {name: Word("zero") for name in ("o", "oh", "zero")}
    found["zeroth"] = Word("small", 0, "th")
    for number, name in enumerate(small, 1):
        found[name] = Word("small", number)
        found["sixes" if name == "six" else f"{name}s"] = Word("small", number, "s")
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
        found[ordinal[number - 1]] = Word("small", number, ending)
    for number, name in enumerate(tens, 2):
        found[name] = Word("ten", 10 * number)
        found[f"{name[:-1]}ies"] = Word("ten", 10 * number, "s")
        found[f"{name[:-1]}ieth"] = Word("ten", 10 * number, "th")
    for name, number in [("hundred", 100), *((s, 1000**p) for p, s in enumerate(scales, 1))]:
        found[name] = Word("scale", number)
        found[f"{name}s"] = Word("scale", number, "s")
        found[f"{name}th"] = Word("scale", number, "th")
    signs = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
    found |= {name: Word("sign", mark=mark) for name, mark in signs.items()}
    for name, mark in (("pound", "£"), ("euro", "€"), ("dollar", "$"), ("cent", "¢")):
        found[name] = found[f"{name}s"] = Word("money", mark=mark)
    found |= {name: Word("part") for name in ("per", "percent")}
    return found | {name: Word("link") for name in ("and", "double", "triple", "point")}


DIGITS = ("zero", "small", "ten")
"""Kinds of words that stand for digits behind a decimal point."""
MONEY = "$¢€£"
WORDS = _vocabulary()
"""Every word that can be part of a number."""
_NUMBER = re.compile(r"\d+(\.\d+)?")
_READERS: dict[Kind, Callable[[_Sentence, str, Word], None]] = {
    "zero": _Sentence._zero,
    "small": _Sentence._small,
    "ten": _Sentence._ten,
    "scale": _Sentence._scale,
    "sign": _Sentence._sign,
    "money": _Sentence._money,
    "part": _Sentence._part,
    "link": _Sentence._link,
}
