"""At a terminal: passwords and join lines are asked for and not shown, large files show how far they are."""

import hashlib
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest

from xwhep.common import errors, trust, wire

PROGRAM = "import sys; from xwhep.client.main import main; sys.exit(main())"


class Terminal:
    """A process with a terminal of its own; everything it shows is kept."""

    def __init__(self, xw, *words, **extra):
        self._master, slave = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=xw.folder,
            env={**xw.environment, **extra},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    def read(self, seconds=0.1):
        """Keep what comes within that time; False at the end."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def expect(self, words):
        end = time.monotonic() + 15
        while words not in self.shown:
            assert self.read() or words in self.shown, self.shown
            assert time.monotonic() < end, self.shown

    def type(self, words):
        os.write(self._master, words.encode() + b"\n")

    def end(self):
        end = time.monotonic() + 30
        while self.read() and time.monotonic() < end:
            pass
        os.close(self._master)
        return self.process.wait(10)


def test_a_password_is_asked_for_and_not_shown(stranger, grid):
    fingerprint = trust.fingerprint(grid.pki.authority)
    terminal = Terminal(stranger, "login", grid.address, "--fingerprint", fingerprint, "--user", "alice")
    terminal.expect("Password of alice at https://localhost")
    terminal.type("s3cret")
    assert terminal.end() == 0
    assert "logged in" in terminal.shown
    assert "s3cret" not in terminal.shown


def test_a_join_line_is_asked_for_and_not_shown(stranger, grid):
    terminal = Terminal(stranger, "login")
    terminal.expect("Join line")
    terminal.type(grid.join_line)
    assert terminal.end() == 0
    assert "t0ken" not in terminal.shown


def test_ctrl_c_at_the_prompt(stranger):
    terminal = Terminal(stranger, "login")
    terminal.expect("Join line")
    terminal.process.send_signal(2)
    assert terminal.end() == 130
    assert "Traceback" not in terminal.shown


def test_an_empty_password_is_refused(stranger, grid):
    fingerprint = trust.fingerprint(grid.pki.authority)
    terminal = Terminal(stranger, "login", grid.address, "--fingerprint", fingerprint, "--user", "alice")
    terminal.expect("Password")
    terminal.type("")
    assert terminal.end() == errors.UsageError.exit_code
    assert "POST /v1/login" not in grid.requests


@pytest.mark.parametrize(("again", "code"), [("long enough", 0), ("long enuogh", errors.UsageError.exit_code)])
def test_a_new_users_password_is_typed_twice_and_not_shown(xw, grid, again, code):
    grid.overrides["POST /v1/users"] = (200, b'{"login": "bob", "role": "user"}')
    terminal = Terminal(xw, "admin", "user", "add", "bob")
    terminal.expect("Password of the new user bob")
    terminal.type("long enough")
    terminal.expect("Again")
    terminal.type(again)
    assert terminal.end() == code
    assert again not in terminal.shown
    assert ("POST /v1/users" in grid.requests) == (code == 0)


def test_ones_own_password_is_asked_for_old_and_new(xw, grid):
    grid.overrides["POST /v1/me/password"] = (200, b"{}")
    terminal = Terminal(xw, "passwd")
    for asked, typed in (("Old password of alice", "s3cret"), ("New password", "a new one"), ("Again", "a new one")):
        terminal.expect(asked)
        terminal.type(typed)
    assert terminal.end() == 0
    assert "the password of alice is changed" in terminal.shown
    assert "s3cret" not in terminal.shown


def test_a_bound_machine_asks_for_a_password_of_its_own_user(stranger, grid, tmp_path):
    (tmp_path / "ca.pem").write_text(grid.pki.authority)
    (tmp_path / "client.toml").write_text(f'address = "{grid.address}"\nauthority = "ca.pem"\n')
    terminal = Terminal(stranger, "login", LOGNAME="alice")
    terminal.expect("Password of alice")
    terminal.type("s3cret")
    assert terminal.end() == 0


@pytest.mark.parametrize(("size", "shown"), [(6 * 2**20, True), (1000, False)], ids=["large", "small"])
def test_large_files_show_how_far_they_are(xw, grid, size, shown):
    content = b"0123456789" * (size // 10)
    (xw.folder / "file").write_bytes(content)
    up = Terminal(xw, "data", "put", "file")
    assert up.end() == 0, up.shown
    down = Terminal(xw, "data", "get", "file", "-o", "copy")
    assert down.end() == 0, down.shown
    assert (xw.folder / "copy").read_bytes() == content
    assert bool(re.search(r"uploading file +100 %  6\.0 MiB of 6\.0 MiB", up.shown)) == shown
    assert bool(re.search(r"downloading file +100 %", down.shown)) == shown
    assert grid.data["file"].sha256 == hashlib.sha256(content).hexdigest()


def test_no_bar_where_nobody_looks(xw, grid):
    (xw.folder / "file").write_bytes(b"x" * 6 * 2**20)
    assert xw("data", "put", "file").err == ""


def test_what_a_job_wrote_goes_to_the_terminal_as_it_is(xw, grid):
    grid.add_app("a")
    grid.on_submit = lambda job: grid.finish(job.id, stdout=b"\x1b[1mbold\x1b[0m\n")
    terminal = Terminal(xw, "job", "submit", "a", "--wait")
    assert terminal.end() == 0
    assert "\x1b[1mbold\x1b[0m" in terminal.shown


def test_a_job_list_on_a_terminal_is_not_cut(xw, grid):
    for number in range(3):
        job = wire.Job(
            id=f"{number}" * 16,
            owner="alice",
            state=wire.JobState.WAITING,
            revision=1,
            created_at=1.0,
            app="a" * 100,
            label="z",
        )
        grid.jobs[job.id] = job
    terminal = Terminal(xw, "job", "list", COLUMNS="40")
    assert terminal.end() == 0
    assert terminal.shown.count("a" * 100) == 3
