"""docker or podman: which is chosen, and what they are asked."""

from __future__ import annotations

import http.server
import json
import resource
import socketserver
import threading
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from xwhep_packaging import command, engines
from xwhep_packaging.command import Command, Result
from xwhep_packaging.engines import DockerEngine, PodmanEngine
from xwhep_packaging.errors import EngineError
from xwhep_packaging.settings import Settings

Load = Callable[..., Settings]
KNOWN = "sha256:" + "a" * 64


class FakeDaemon(http.server.BaseHTTPRequestHandler):
    """Answers what the pipeline asks a docker daemon: a ping, and whether it has an image."""

    def do_GET(self) -> None:
        body = json.dumps({"Id": KNOWN}).encode()
        known = ("/_ping", f"/images/{KNOWN}/json", "/images/grid-server:1/json")
        self.send_response(200 if self.path in known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "a unix socket has no address"

    def log_message(self, *words: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """The address of a fake daemon on a socket of its own."""
    path = tmp_path / "docker.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), FakeDaemon) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join()


def at(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)


# The choice


def test_auto_takes_a_daemon_that_answers(
    settings: Settings, daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, daemon)
    engine = engines.choose(settings, tmp_path)
    assert isinstance(engine, DockerEngine)
    assert (engine.name, engine.address) == ("docker", daemon)


@pytest.mark.parametrize(
    "address",
    ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:9", "ssh://host.invalid", "nonsense"],
)
def test_auto_takes_podman_without_a_daemon(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    at(monkeypatch, address)
    assert isinstance(engines.choose(settings, tmp_path), PodmanEngine)


def test_forced_podman_asks_no_daemon(load: Load, daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, daemon)
    engine = engines.choose(load(environ={"XWHEP_ENGINE": "podman"}), tmp_path)
    assert isinstance(engine, PodmanEngine)


def test_forced_docker_without_a_daemon_is_an_error(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, "unix:///nonexistent/docker.sock")
    with pytest.raises(EngineError, match="no docker daemon answers at unix:///nonexistent") as caught:
        engines.choose(load(environ={"XWHEP_ENGINE": "docker"}), tmp_path)
    assert "XWHEP_ENGINE=podman" in caught.value.next_step
    assert caught.value.exit_code == 18


def test_socket_that_nobody_serves(tmp_path: Path) -> None:
    (tmp_path / "docker.sock").touch()
    assert not DockerEngine(address=f"unix://{tmp_path}/docker.sock").answers()


# docker


def test_docker_is_asked_for_an_image(daemon: str) -> None:
    engine = DockerEngine(address=daemon)
    assert engine.has_image(KNOWN)
    assert engine.has_image(KNOWN, ("grid-server:1",))
    assert not engine.has_image(KNOWN, ("grid-server:1", "grid-server:2"))
    assert not engine.has_image("sha256:" + "b" * 64)


def test_docker_that_takes_no_image(daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def push(wanted: Command, *, check: bool = True) -> Result:
        Path(str(wanted.argv[-1]).partition(":")[2]).write_bytes(b"archive")
        return Result(returncode=0, stdout="")

    monkeypatch.setattr(command, "run", push)
    with pytest.raises(EngineError, match="docker does not take image a:1") as caught:
        DockerEngine(address=daemon).take(KNOWN, ("a:1",), tmp_path / "log")
    assert "daemon" in caught.value.next_step


def test_docker_serves_where_it_is(daemon: str, tmp_path: Path) -> None:
    with DockerEngine(address=daemon).serving(tmp_path / "log") as address:
        assert address == daemon


# podman


def test_configurations_are_toml_from_weak_to_strong() -> None:
    found = {name: tomllib.loads(text) for name, text in engines.configurations().items()}
    assert list(found) == ["plain", "limited", "cgroupfs", "runc"]
    assert "default_ulimits" not in found["plain"]["containers"]
    assert all("default_ulimits" in found[name]["containers"] for name in ("limited", "cgroupfs", "runc"))
    assert "runtime" not in found["cgroupfs"]["engine"]
    assert found["runc"]["engine"]["runtime"] == "runc"


@pytest.mark.parametrize(
    ("hard", "expected"), [(1000, 1000), (96_365, 32_768), (resource.RLIM_INFINITY, 32_768)], ids=str
)
def test_limit_on_processes_is_one_that_runc_can_set(monkeypatch: pytest.MonkeyPatch, hard: int, expected: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1, hard if which == resource.RLIMIT_NPROC else 20_000))
    limits = tomllib.loads(engines.configurations()["limited"])["containers"]["default_ulimits"]
    assert limits == ["nofile=20000:20000", f"nproc={expected}:{expected}"]


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A containers' storage with one image."""
    folder = tmp_path / "storage" / "overlay-images"
    folder.mkdir(parents=True)
    (folder / "images.json").write_text(json.dumps([{"id": "a" * 64, "names": ["x"]}]))
    monkeypatch.setattr(engines, "storage_root", lambda: tmp_path / "storage")
    return folder / "images.json"


def test_podman_knows_its_images(storage: Path, tmp_path: Path) -> None:
    engine = PodmanEngine(memory=tmp_path)
    assert engine.has_image(KNOWN)
    assert not engine.has_image("sha256:" + "b" * 64)
    storage.write_text("{half")
    assert not engine.has_image(KNOWN)
    storage.unlink()
    assert not engine.has_image(KNOWN)


def test_a_stored_image_has_its_names(storage: Path) -> None:
    """One that lost its name cannot be built on, though it is there."""
    assert engines.is_stored(KNOWN, ["x"])
    assert not engines.is_stored(KNOWN, ["x", "y"])
    assert not engines.is_stored("sha256:" + "b" * 64, [])


@pytest.fixture
def tried(storage: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Containers start only under the configuration of that name. Returns the configurations that were tried."""

    def works(name: str) -> list[str]:
        calls: list[str] = []

        def run(wanted: Command, *, check: bool = True) -> Result:
            if wanted.argv[1] == "--version":
                return Result(returncode=0, stdout="podman version 4.3.1\n")
            calls.append(Path(wanted.env["CONTAINERS_CONF"]).stem)
            return Result(returncode=0 if calls[-1] == name else 125, stdout="")

        monkeypatch.setattr(command, "run", run)
        return calls

    return works


def test_settings_of_the_host_are_found_by_trying(tried: Callable[[str], list[str]], tmp_path: Path) -> None:
    engine, calls = PodmanEngine(memory=tmp_path), tried("cgroupfs")
    found = engine.configuration(tmp_path / "log")
    assert found == tmp_path / "cgroupfs.conf"
    assert calls == ["plain", "limited", "cgroupfs"]
    assert engine.configuration(tmp_path / "log") == found
    assert calls[3:] == ["cgroupfs"], "what worked last time is tried first"


def test_newest_image_may_be_one_that_another_run_removes(
    storage: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    storage.write_text(json.dumps([{"id": image} for image in ("good", "gone")]))
    calls: list[str] = []

    def run(wanted: Command, *, check: bool = True) -> Result:
        calls.append(wanted.argv[-1])
        return Result(returncode=125 if wanted.argv[-1] == "gone" else 0, stdout="podman version 4.3.1\n")

    monkeypatch.setattr(command, "run", run)
    assert PodmanEngine(memory=tmp_path).configuration(tmp_path / "log") == tmp_path / "plain.conf"
    assert calls == ["--version", "gone", "good"]


def test_remembered_settings_of_another_machine_count_for_nothing(
    tried: Callable[[str], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "podman.json").write_text(json.dumps({"machine": "other", "works": "runc"}))
    calls = tried("plain")
    PodmanEngine(memory=tmp_path).configuration(tmp_path / "log")
    assert calls == ["plain"]


def test_host_on_which_nothing_starts(tried: Callable[[str], list[str]], tmp_path: Path) -> None:
    calls = tried("none of them")
    with pytest.raises(EngineError, match="podman cannot start a container here") as caught:
        PodmanEngine(memory=tmp_path).configuration(tmp_path / "log")
    assert calls == ["plain", "limited", "cgroupfs", "runc"]
    assert "plain, limited, cgroupfs, runc" in caught.value.cause


def test_nothing_can_be_tried_without_an_image(
    tried: Callable[[str], list[str]], storage: Path, tmp_path: Path
) -> None:
    tried("plain")
    storage.write_text("[]")
    with pytest.raises(EngineError, match="no image to try"):
        PodmanEngine(memory=tmp_path).configuration(tmp_path / "log")


def test_storage_of_an_ordinary_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert engines.storage_root() == tmp_path / "containers" / "storage"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert engines.storage_root() == Path("/var/lib/containers/storage")
