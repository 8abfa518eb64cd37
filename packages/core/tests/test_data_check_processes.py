"""Work shared among processes comes back in order, whatever happens to one of them."""

from collections.abc import Iterator

import pytest

from asr_lab.data.checking.processes import AHEAD, CHUNK, in_order

DEADLY = "__import__('os')._exit(1)"
"""Work is `eval`, which any process can import: this ends the one that does it."""


def crashed(text: str) -> int:
    return -1


@pytest.mark.parametrize(("workers", "count"), [(0, 0), (0, 40), (2, 5 * CHUNK + 1)])
def test_results_come_in_order(workers: int, count: int) -> None:
    items = [f"{number} ** 2" for number in range(count)]
    expected = [number**2 for number in range(count)]
    assert list(in_order(eval, items, workers, crashed)) == expected


def test_what_kills_a_process_costs_nothing_but_itself() -> None:
    items = [*map(str, range(CHUNK)), DEADLY, "16", "17"]
    assert list(in_order(eval, items, 2, crashed)) == [*range(CHUNK), -1, 16, 17]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_exception_is_passed_on(workers: int) -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(eval, ["1", "1 / 0"], workers, crashed))


def test_only_a_few_chunks_are_taken_ahead() -> None:
    taken = []

    def items() -> Iterator[str]:
        for number in range(100 * CHUNK):
            taken.append(number)
            yield str(number)

    results = in_order(eval, items(), 1, crashed)
    assert next(results) == 0
    assert len(taken) <= AHEAD * CHUNK
    del results  # what is left is given up
