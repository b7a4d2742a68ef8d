import signal
import threading

import pytest

from charloom import signals
from charloom.distributed import Place
from charloom.signals import STOPPING, Interrupted, Signals


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_is_gathered_and_the_handlers_are_given_back(number):
    before = signal.getsignal(number)
    with Signals() as signals:
        signal.raise_signal(number)
        assert signals.caught == [number]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", STOPPING)
def test_what_can_be_left_at_once_is(number):
    with Signals() as signals:
        with pytest.raises(Interrupted), signals.at_once():
            signal.raise_signal(number)
        with pytest.raises(Interrupted), signals.at_once():
            raise AssertionError("it began, though the end was asked for")
        assert signals.caught == [number]


def test_a_second_interrupt_raises_and_a_second_termination_does_not():
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signals.caught == [signal.SIGTERM] * 2


def test_under_torchrun_one_ctrl_c_may_come_twice(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(signals, "monotonic", lambda: clock[0])
    monkeypatch.setattr(signals, "place", lambda: Place(0, 2, 0, "127.0.0.1", 29500))
    with Signals() as gathered:
        signal.raise_signal(signal.SIGINT)
        clock[0] += 1.9
        signal.raise_signal(signal.SIGINT)
        assert gathered.caught == [signal.SIGINT]
        clock[0] += 0.2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_save_can_be_asked_for_anywhere():
    with Signals() as signals, signals.at_once():
        assert not signals.save
        signal.raise_signal(signal.SIGUSR1)
        assert signals.save
    assert signals.caught == []


def test_a_save_is_asked_for_in_training_only(request):
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as the command line has it
    request.addfinalizer(lambda: signal.signal(signal.SIGUSR1, before))
    with Signals() as signals:
        signal.raise_signal(signal.SIGUSR1)
    assert signals.save
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN


def test_in_another_thread_nothing_is_done():
    before = [signal.getsignal(number) for number in STOPPING]
    found = []

    def enter():
        with Signals():
            found.extend(signal.getsignal(number) for number in STOPPING)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == before
