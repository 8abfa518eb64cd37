"""HTML that cannot be broken by texts: whatever is not `Markup` is escaped."""

import html
import unicodedata

HOSTILE = ("Cc", "Cs")
"""Categories that HTML cannot hold: control characters and halves of surrogate pairs."""
VOID = ("br", "input", "link", "meta")
"""Elements that have no end."""


class Markup(str):
    """Text that is HTML already; only this module and constants of the page make it."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str | int | float) -> Markup:
    """Return an element; `class_` stands for `class`, and `_` in names for `-`."""
    inside = "".join(map(escaped, content))
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{written}>" + ("" if name in VOID else f"{inside}</{name}>"))


def join(*parts: str) -> Markup:
    """Return the parts one after the other, escaped where they are plain text."""
    return Markup("".join(map(escaped, parts)))


def escaped(text: str) -> str:
    """Return text as HTML shows it, in elements and in quoted attributes."""
    if isinstance(text, Markup):
        return text
    shown = "".join(
        "\ufffd" if unicodedata.category(one) in HOSTILE and one not in "\n\t" else one
        for one in text
    )
    return html.escape(shown, quote=True)
