"""Word alignments in colour; errors differ in their line as well, for those who see no colours."""

from asr_lab.evaluation.comparison.markup import Markup, element, join
from asr_lab.utils.metrics import Rule, align


def alignment(reference: str, hypothesis: str, rule: Rule) -> Markup:
    """Return the words of a hypothesis, with what is missing struck out and what is wrong marked.

    Of a word that took the place of another, the other stands above it.
    """
    words = []
    for operation, ours, theirs in align(reference, hypothesis, rule):
        if operation == "equal":
            words.append(element("span", theirs))
        elif operation == "insert":
            words.append(element("ins", theirs, title="inserted"))
        elif operation == "delete":
            words.append(element("del", ours, title="deleted"))
        else:
            above = element("rt", ours)
            words.append(element("ruby", theirs, above, class_="sub", title=f"for {ours}"))
    if not words:
        words = [element("em", "nothing was said, and nothing was recognised")]
    return join(*(part for word in words for part in (word, " ")))


def legend() -> Markup:
    """Return what the colours mean."""
    wrong = element("ruby", "heard", element("rt", "said"), class_="sub")
    return element(
        "p",
        wrong,
        " substituted   ",
        element("ins", "inserted"),
        "   ",
        element("del", "deleted"),
        class_="legend",
    )
