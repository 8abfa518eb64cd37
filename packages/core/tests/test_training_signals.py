"""Signals stop a run at the end of a step, and clocks tell how old it is."""

import threading
from pathlib import Path
from signal import SIGINT, SIGTERM, getsignal

import pytest

from asr_lab.training.clock import process_seconds
from asr_lab.training.signals import Interrupted, StopRequest, stop_request


def test_the_first_signal_is_remembered_and_the_second_gives_up() -> None:
    before = getsignal(SIGINT), getsignal(SIGTERM)
    with stop_request() as stop:
        assert not stop
        stop.receive(SIGTERM, None)
        assert stop and stop.name == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            stop.receive(SIGINT, None)
    assert (getsignal(SIGINT), getsignal(SIGTERM)) == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    found: list[StopRequest] = []

    def work() -> None:
        with stop_request() as stop:
            found.append(stop)

    before = getsignal(SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1 and not found[0] and getsignal(SIGINT) is before


def test_the_way_on_is_a_command_to_paste() -> None:
    told = str(Interrupted(Path("my runs/a"), 4210))
    assert told == "step 4,210 is safe. Go on with: asr-lab resume 'my runs/a'"


def test_the_age_of_the_process_grows() -> None:
    first = process_seconds()
    assert 0 <= first <= process_seconds()
