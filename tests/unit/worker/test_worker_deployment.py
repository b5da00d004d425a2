"""A worker bound to a deployment by the files of its package."""

from __future__ import annotations

import os
import socket
import ssl
from pathlib import Path

import pytest
import urllib3

from deployed import Deployed
from xwhep.common.errors import NotAllowed, UsageError
from xwhep.worker import addresses, identity, service
from xwhep.worker.deployment import read_deployment
from xwhep.worker.settings import load


@pytest.fixture
def bound(tmp_path: Path) -> Deployed:
    made = Deployed(tmp_path / "etc")
    made.bind(4321)
    return made


def fill(folder: Path, grid, line: str = "") -> Path:
    """The worker's folder for the test grid."""
    folder.mkdir(mode=0o750, exist_ok=True)
    for name, text in (("worker.join", line or str(grid.join_line)), ("ca.pem", grid.authority.pem)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o640)
    return folder


def test_it_joins_by_the_deployments_line_without_fetching_the_authority(grid, command, folder) -> None:
    deployment = fill(folder / "deployment", grid)
    command.start(XWHEP_WORKER_DEPLOYMENT=str(deployment))
    grid.until(lambda: grid.requests)
    assert grid.enrolled[0].join_token == grid.join_line.token
    assert "/v1/ca" not in [path for _, path, _ in grid.calls]


def test_the_environment_comes_first(grid, command, folder) -> None:
    wrong = str(grid.join_line).rpartition(" ")[0] + " of-the-deployment"
    deployment = fill(folder / "deployment", grid, wrong)
    command.start(XWHEP_WORKER_DEPLOYMENT=str(deployment), XWHEP_JOIN=str(grid.join_line))
    grid.until(lambda: grid.requests)


def test_without_a_folder_there_is_none(tmp_path: Path) -> None:
    assert read_deployment(tmp_path / "none") is None
    assert read_deployment(tmp_path) is None


def test_it_holds_line_and_authority(bound: Deployed) -> None:
    line = read_deployment(bound.worker)
    assert line is not None
    assert (line, line.authority) == (bound.join_line(4321, host="xwserver.test"), bound.authority.pem)
    (bound.worker / "ca.pem").unlink()
    assert read_deployment(bound.worker).authority == ""


def test_a_line_that_everybody_can_read_is_refused(bound: Deployed) -> None:
    bound.worker.chmod(0o755)
    (bound.worker / "worker.join").chmod(0o644)
    with pytest.raises(NotAllowed, match=r"worker\.join"):
        read_deployment(bound.worker)
    bound.worker.chmod(0o750)
    assert read_deployment(bound.worker)


@pytest.mark.parametrize(
    ("name", "text"), [("worker.join", "no line"), ("ca.pem", ""), ("ca.pem", "no certificate"), ("ca.pem", "\xff")]
)
def test_a_damaged_file_is_named_and_no_token_shown(bound: Deployed, name: str, text: str) -> None:
    bound.write(bound.worker / name, text)
    with pytest.raises(UsageError, match=name if text.isascii() else "damaged") as caught:
        read_deployment(bound.worker)
    assert "join-token" not in str(caught.value)


def test_a_renewed_authority_is_kept_by_a_worker_that_joined_before(grid, folder: Path) -> None:
    line = read_deployment(fill(folder / "deployment", grid))
    joined = identity.join(line, "tester", grid.machine, folder)
    settings = load({"deployment": str(folder / "deployment"), "state": str(folder)}, {})
    (folder / "deployment" / "ca.pem").write_text(renewed := grid.authority.pem * 2)
    assert service._identity(settings, None, None, None) == joined
    assert (folder / joined.ca_file).read_text() == renewed
    (folder / "deployment" / "worker.join").write_text(str(line).replace("localhost", "other"))
    (folder / "deployment" / "ca.pem").write_text(grid.authority.pem)
    assert service._identity(settings, None, None, None) == joined
    assert (folder / joined.ca_file).read_text() == renewed  # another grid's authority is no affair of this worker


def test_settings_of_the_deployment_are_below_all_others(bound: Deployed, tmp_path: Path) -> None:
    bound.write(bound.worker / "worker.toml", 'slots = 1\ncache_max = "1G"\nlabels = ["a"]\nstop_grace = 1\n')
    own = tmp_path / "worker.toml"
    own.write_text(f'cache_max = "2G"\nlabels = ["b"]\nstop_grace = 2\ndeployment = "{bound.worker}"\n')
    environment = {"XWHEP_WORKER_LABELS": "c", "XWHEP_WORKER_STOP_GRACE": "3", "XWHEP_WORKER_CONFIG": str(own)}
    chosen = load({"stop_grace": "4"}, environment)
    assert (chosen.slots, chosen.cache_max, chosen.labels, chosen.stop_grace) == (1, 2 * 2**30, ("c",), 4)


@pytest.mark.parametrize("text", ["slot = 1", 'deployment = "/elsewhere"', "= =", "slots = 0"])
def test_wrong_settings_of_the_deployment_are_refused(bound: Deployed, text: str) -> None:
    bound.write(bound.worker / "worker.toml", text)
    with pytest.raises(UsageError):
        load({"deployment": str(bound.worker)}, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_who_may_not_read_the_deployment_can_still_ask(bound: Deployed) -> None:
    bound.write(bound.worker / "worker.toml", "slots = 7\n")
    for parent in (bound.worker.parent, *bound.worker.parent.parents[:3]):
        parent.chmod(0o755)
    for path in (bound.worker, *bound.worker.iterdir()):
        os.chown(path, 12345, 12345)
    os.seteuid(65534)
    try:
        assert load({"deployment": str(bound.worker)}, {}).slots != 7
        with pytest.raises(UsageError, match="cannot read"):
            read_deployment(bound.worker)
    finally:
        os.seteuid(0)


def test_where_the_network_says_the_server_is_new_connections_go_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[str] = []
    asked: list[str] = []

    class Socket:
        def getpeername(self) -> tuple[str, int]:
            return ("192.0.2.7", 4321)

    class Connection(addresses.KnownHostConnection):
        def connect_to(self, host: str) -> Socket:
            connected.append(host)
            if host == "192.0.2.6":
                raise urllib3.exceptions.NewConnectionError(self, "nobody there")
            return Socket()

    def answer(name: str, *_: object) -> list[str]:
        asked.append(name)
        return ["192.0.2.6", "192.0.2.7"]

    book = addresses.Addresses()
    connection = Connection("grid.test", 4321, ssl_context=ssl.create_default_context())
    monkeypatch.setattr(addresses, "addresses_of", answer)
    book.connect(connection)
    book.connect(connection)
    assert (asked, connected) == (["grid.test"], ["192.0.2.6", "192.0.2.7", "192.0.2.7"])


def test_a_name_that_nobody_knows_is_a_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(*_: object) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(addresses, "addresses_of", answer)
    connection = addresses.KnownHostConnection("grid.test", 4321, ssl_context=ssl.create_default_context())
    with pytest.raises(urllib3.exceptions.NameResolutionError):
        addresses.Addresses().connect(connection)
