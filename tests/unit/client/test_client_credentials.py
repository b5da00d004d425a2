"""Where credentials come from, in which order, and how they are kept."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from xwhep.client import credentials
from xwhep.client.credentials import Credentials
from xwhep.common import errors, trust

SAVED = Credentials("https://saved:4321", "PEM", "saved-token", "bob")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A machine without any setting; its session folder."""
    for name in ("XWHEP_JOIN", "XWHEP_JOIN_FILE", "XWHEP_CLIENT_STATE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XWHEP_CLIENT_CONFIG", str(tmp_path / "client.toml"))
    return tmp_path / "home/.config/xwhep"


def secret_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_folder_follows_its_variables(home, monkeypatch):
    assert credentials.folder() == home
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg")
    assert credentials.folder() == Path("/xdg/xwhep")
    monkeypatch.setenv("XWHEP_CLIENT_STATE", "/chosen")
    assert credentials.folder() == Path("/chosen")


def test_what_is_saved_is_found_again(home):
    assert credentials.saved() is None
    path = credentials.save(SAVED)
    assert path == home / "client.json"
    assert credentials.saved() == SAVED
    assert credentials.find() == SAVED


def test_each_source_comes_before_the_next(home, grid, tmp_path, monkeypatch):
    def line(token):
        return grid.join_line.rpartition(" ")[0] + " " + token

    def token():
        return credentials.find().token

    with pytest.raises(errors.AuthenticationFailed, match="not logged in"):
        credentials.find()
    secret_file(tmp_path / "system.join", line("system-token"))
    (tmp_path / "client.toml").write_text('join_file = "system.join"\n')
    assert token() == "system-token"
    credentials.save(SAVED)
    assert token() == "saved-token"
    monkeypatch.setenv("XWHEP_JOIN_FILE", str(secret_file(tmp_path / "file.join", line("file-token"))))
    assert token() == "file-token"
    monkeypatch.setenv("XWHEP_JOIN", line("variable-token"))
    assert token() == "variable-token"


def test_after_a_logout_the_machines_own_join_line_counts(home, grid, tmp_path):
    secret_file(tmp_path / "system.join", grid.join_line)
    (tmp_path / "client.toml").write_text('join_file = "system.join"\n')
    credentials.save(SAVED._replace(token="", login=""))
    assert credentials.find().address == grid.address


def test_saving_replaces_a_file_that_others_could_read(home):
    home.mkdir(parents=True)
    (home / "client.json").write_text("{}")
    (home / "client.json").chmod(0o644)
    credentials.save(SAVED)
    assert stat.S_IMODE((home / "client.json").stat().st_mode) == 0o600


def test_saving_does_not_write_through_a_link(home, tmp_path):
    home.mkdir(parents=True)
    (tmp_path / "victim").write_text("old")
    (home / "client.json").symlink_to(tmp_path / "victim")
    credentials.save(SAVED)
    assert (tmp_path / "victim").read_text() == "old"
    assert credentials.saved() == SAVED


def test_a_save_that_fails_leaves_the_old_one_and_no_draft(home, monkeypatch):
    credentials.save(SAVED)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        credentials.save(SAVED._replace(token="new"))
    assert credentials.saved() == SAVED
    assert [path.name for path in home.iterdir()] == ["client.json"]


def test_a_reader_beside_a_writer_sees_whole_files_only(home):
    credentials.save(SAVED)
    done = threading.Event()

    def write():
        for number in range(100):
            credentials.save(SAVED._replace(token=f"{number}" * (number * 50)))
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert credentials.saved().address == SAVED.address
    writer.join()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o666])
def test_a_users_file_is_for_the_user_alone(home, mode, monkeypatch):
    path = credentials.save(SAVED)
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)
    with pytest.raises(errors.UsageError, match="others can read it") as caught:
        credentials.saved()
    assert caught.value.next_step == f"chmod 600 {path}"
    assert "saved-token" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of root")
@pytest.mark.parametrize(("mode", "fine"), [(0o600, True), (0o640, True), (0o644, False), (0o604, False)])
def test_a_file_of_root_may_be_for_one_group(tmp_path, mode, fine):
    path = secret_file(tmp_path / "join", "text")
    path.chmod(mode)
    if fine:
        assert credentials.read_secret(path, "remedy") == "text"
    else:
        with pytest.raises(errors.UsageError):
            credentials.read_secret(path, "remedy")


def test_a_secret_that_is_not_there(tmp_path):
    assert credentials.read_secret(tmp_path / "none", "make one", missing_ok=True) is None
    with pytest.raises(errors.UsageError) as caught:
        credentials.read_secret(tmp_path / "none", "make one")
    assert caught.value.next_step == "make one"


def test_a_secret_may_come_through_a_pipe(tmp_path):
    """As in: xw login --file <(...)"""
    read, write = os.pipe()
    os.write(write, b"text")
    os.close(write)
    try:
        assert credentials.read_secret(Path(f"/dev/fd/{read}"), "remedy") == "text"
    finally:
        os.close(read)


@pytest.mark.parametrize("noise", ["{}", "\n\n {} \n", "echo '{}' | xw login\n"])
def test_a_join_line_is_found_in_what_was_pasted(home, grid, noise):
    found = credentials.from_join_text(noise.format(grid.join_line))
    assert (found.address, found.token) == (grid.address, "t0ken-of-alice")
    assert found.authority == grid.pki.authority


def test_an_authority_is_kept_by_its_fingerprint(home, grid):
    fingerprint = trust.fingerprint(grid.pki.authority)
    assert credentials.authority_of(grid.address, fingerprint) == grid.pki.authority
    grid.stop()
    assert credentials.authority_of(grid.address, fingerprint) == grid.pki.authority
    (kept,) = home.iterdir()
    kept.write_text(kept.read_text().replace("A", "B"))  # another certificate under the same name is not taken
    with pytest.raises(errors.ConnectionFailed):
        credentials.authority_of(grid.address, fingerprint)


def test_system_settings(home, tmp_path):
    assert credentials.system_settings() == ("", "", "")
    (tmp_path / "ca.pem").write_text("PEM")
    (tmp_path / "client.toml").write_text('address = "h:1"\nauthority = "ca.pem"\njoin_file = "/abs/join"\n')
    assert credentials.system_settings() == ("h:1", "PEM", "/abs/join")


def test_a_session_file_holds_what_the_next_version_needs(home):
    path = credentials.save(SAVED)
    fields = json.loads(path.read_text())
    assert fields == {"address": "https://saved:4321", "authority": "PEM", "token": "saved-token", "login": "bob"}
    path.write_text(json.dumps({**fields, "of_a_later_version": 1}))
    assert credentials.saved() == SAVED
