import os
import stat
from pathlib import Path

import pytest

from xwhep.common.errors import AuthenticationFailed, ConnectionFailed, NotAllowed, UntrustedCertificate, UsageError
from xwhep.common.join import JoinLine
from xwhep.worker.identity import FILE_NAME, join, stored


def test_joining_stores_who_it_is_for_its_owner_alone(grid, folder: Path) -> None:
    joined = join(grid.join_line, "tester", grid.machine, folder)
    assert stored(folder) == joined
    assert (joined.address, joined.name, joined.worker_id) == (grid.address, "tester", "w1")
    assert grid.enrolled[0].machine == grid.machine
    for name in (FILE_NAME, joined.ca_file):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == sorted([FILE_NAME, joined.ca_file])


def test_the_token_is_not_shown(identity) -> None:
    assert identity.token == "worker-secret"
    assert identity.token not in f"{identity} {identity!r}"


def test_before_the_first_join_there_is_none(tmp_path: Path) -> None:
    assert stored(tmp_path) is None


def test_another_authority_is_refused_before_anything_secret_is_sent(grid, folder: Path) -> None:
    line = JoinLine(address=grid.address, fingerprint="sha256:" + "0" * 64, token="secret")
    with pytest.raises(UntrustedCertificate):
        join(line, "tester", grid.machine, folder)
    assert [path for _, path, _ in grid.calls] == ["/v1/ca"]
    assert list(folder.iterdir()) == []


def test_a_wrong_join_token_leaves_no_identity(grid, folder: Path) -> None:
    line = JoinLine(address=grid.address, fingerprint=grid.join_line.fingerprint, token="wrong")
    with pytest.raises(AuthenticationFailed):
        join(line, "tester", grid.machine, folder)
    assert stored(folder) is None


def test_nobody_there(grid, folder: Path) -> None:
    line = grid.join_line
    grid.stop()
    with pytest.raises(ConnectionFailed):
        join(line, "tester", grid.machine, folder)


@pytest.mark.usefixtures("identity")
def test_an_identity_that_others_can_read_is_refused(folder: Path) -> None:
    (folder / FILE_NAME).chmod(0o640)
    with pytest.raises(NotAllowed, match="other users") as caught:
        stored(folder)
    assert "chmod 600" in caught.value.next_step


@pytest.mark.parametrize("content", [b"", b"{", b'{"address": 1}'])
def test_a_damaged_identity_is_named(folder: Path, content: bytes) -> None:
    file = folder / FILE_NAME
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(UsageError, match="damaged"):
        stored(folder)


def test_joining_again_replaces_the_identity_whole(grid, identity, folder: Path) -> None:
    grid.stop()
    grid.authority = type(grid.authority)(folder)
    grid.start()
    again = join(grid.join_line, "renamed", grid.machine, folder)
    assert stored(folder) == again
    assert again.ca_file != identity.ca_file


def test_a_umask_does_not_widen_nor_narrow_the_file(grid, folder: Path) -> None:
    old = os.umask(0o777)
    try:
        join(grid.join_line, "tester", grid.machine, folder)
    finally:
        os.umask(old)
    assert stat.S_IMODE((folder / FILE_NAME).stat().st_mode) == 0o600
