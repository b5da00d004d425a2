"""The control socket of a worker, without the worker."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xwhep.common.errors import ConnectionFailed, ServerFailed
from xwhep.worker import control
from xwhep.worker.control import Control, Mode, ask, stored_mode
from xwhep.worker.flag import Flag


@pytest.fixture
def changes(tmp_path: Path) -> Iterator[list[Mode]]:
    """A running control; what it was told."""
    told: list[Mode] = []
    stop = Flag()
    thread = threading.Thread(target=Control(tmp_path, told.append).run, args=(stop,))
    thread.start()
    yield told
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert not (tmp_path / "control.sock").exists()


def test_each_word_is_obeyed_before_the_answer_and_kept(changes: list[Mode], tmp_path: Path) -> None:
    for mode in (Mode.PAUSED, Mode.DRAINING, Mode.WORKING):
        ask(tmp_path, mode)
        assert changes[-1] == mode
        assert stored_mode(tmp_path) == mode


@pytest.mark.usefixtures("changes")
def test_only_its_user_can_use_it(tmp_path: Path) -> None:
    assert (tmp_path / "control.sock").stat().st_mode & 0o777 == 0o600


def test_another_user_is_refused_even_when_connected(changes: list[Mode], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(control, "_user_of", lambda _: os.geteuid() + 12345)
    with pytest.raises(ServerFailed, match="not for this user"):
        ask(tmp_path, Mode.PAUSED)
    assert changes == []


def test_rubbish_and_silence_do_no_harm(changes: list[Mode], tmp_path: Path) -> None:
    for content in (b"explode\n", b"\xff" * 1000, b""):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / "control.sock"))
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) in (b"error no such mode\n", b"")
    ask(tmp_path, Mode.PAUSED)
    assert changes == [Mode.PAUSED]


def test_a_mode_that_cannot_be_kept_is_not_entered(changes: list[Mode], tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(control, "write_private", full)
    with pytest.raises(ServerFailed, match="No space left"):
        ask(tmp_path, Mode.PAUSED)
    assert changes == []


def test_nobody_there(tmp_path: Path) -> None:
    for state in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConnectionFailed):
            ask(state, Mode.PAUSED)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control.sock"))
    with pytest.raises(ConnectionFailed):
        ask(tmp_path, Mode.PAUSED)


def test_a_socket_left_by_a_killed_worker_is_replaced_in_a_folder_of_any_length(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 40)
    state.mkdir()
    told: list[Mode] = []
    for _ in range(2):  # the first is never closed in good order
        made = Control(state, told.append)
    stop = Flag()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    ask(state, Mode.DRAINING)
    stop.set()
    thread.join(10)
    assert told == [Mode.DRAINING]


@pytest.mark.parametrize("content", [None, "", "rubbish"])
def test_a_mode_that_cannot_be_read_is_work(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "mode").write_text(content)
    assert stored_mode(tmp_path) == Mode.WORKING


@pytest.mark.usefixtures("changes")
def test_it_answers_at_once(tmp_path: Path) -> None:
    before = time.monotonic()
    ask(tmp_path, Mode.PAUSED)
    assert time.monotonic() - before < 1


def test_a_short_path_needs_no_proc(tmp_path: Path) -> None:
    """A root file system may be without it."""
    for folder, needs_proc in ((tmp_path, False), (tmp_path / ("long" * 40), True)):
        folder.mkdir(exist_ok=True)
        with control._near(folder / "control.sock") as address:
            assert address.startswith("/proc/") is needs_proc
            assert len(address) <= 107
