import os
import signal
import threading
import time

from xwhep.worker.flag import Flag, wait_any


def test_a_flag_is_set_once_and_stays_set() -> None:
    flag = Flag()
    assert not flag.is_set()
    flag.set()
    flag.set()
    assert flag.is_set()
    assert flag.wait(10)


def test_waiting_ends_when_another_thread_sets_it() -> None:
    flag = Flag()
    timer = threading.Timer(0.05, flag.set)
    timer.start()
    before = time.monotonic()
    assert flag.wait(10)
    assert time.monotonic() - before < 5


def test_waiting_ends_without_it_when_time_passes() -> None:
    assert not Flag().wait(0.01)
    assert not Flag().wait(-1)


def test_a_signal_handler_may_set_it_while_the_main_thread_waits() -> None:
    flag = Flag()
    previous = signal.signal(signal.SIGUSR1, lambda *_: flag.set())
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert flag.wait(10)
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_the_first_of_several_is_named() -> None:
    first, second = Flag(), Flag()
    second.set()
    assert wait_any([first.fileno(), second.fileno()], 1) == [second.fileno()]
    assert wait_any([first.fileno()], 0) == []
