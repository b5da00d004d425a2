"""The engine `process`: what the docker SDK asks, answered by processes of this very machine."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import docker
import docker.errors
import pytest

from one_image import OneImage
from xwhep_packaging import engines, powers
from xwhep_packaging.alive import is_alive
from xwhep_packaging.engines import ProcessEngine
from xwhep_packaging.errors import EngineError
from xwhep_packaging.powers import Powers
from xwhep_packaging.process_engine import running
from xwhep_packaging.process_engine.api import Handler
from xwhep_packaging.process_engine.containers import Host, Network, Refused
from xwhep_packaging.settings import Settings

WAIT_S = 10.0
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="chroot(2) is root's")
LOOP = "trap 'echo ended; exit 3' INT; echo started; while :; do sleep 0.02; done"
NOTHING = Powers(mounts=False, network=False, users=False, chroot=False)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    given = {"grid-server": {"LISTEN": "{address}:1", "NAME": "{hostname}", "WHO": "settings"}}
    return Host(folder=tmp_path, images=OneImage(folder=tmp_path, log=tmp_path / "log"), given=given)


@pytest.fixture
def client(host: Host, tmp_path: Path) -> Iterator[docker.DockerClient]:
    class OwnHandler(Handler):
        pass

    OwnHandler.host = host
    address = tmp_path / "s.sock"
    with socketserver.ThreadingUnixStreamServer(str(address), OwnHandler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        found = docker.DockerClient(base_url=f"unix://{address}", timeout=20)
        yield found
        found.close()
        host.close()
        server.shutdown()


def run(client: docker.DockerClient, script: str, **more: Any) -> Any:
    return client.containers.run("image", ["/bin/sh", "-c", script], detach=True, **more)


@root_only
def test_a_container_runs_as_the_images_user_with_its_environment(client: docker.DockerClient) -> None:
    box = run(client, 'id -u; id -g; echo "$GREETING $WHO $NAME"; echo oops >&2', hostname="me")
    assert box.wait()["StatusCode"] == 0
    assert box.logs(stderr=False).decode().splitlines() == ["7", "8", "hello settings me"]
    assert box.logs(stdout=False) == b"oops\n"


@root_only
def test_it_cannot_leave_its_root_nor_become_another_user(client: docker.DockerClient) -> None:
    box = run(client, "echo x > /etc/mine; cat /etc/shadow; echo $?")
    box.wait()
    assert box.logs(stderr=False).decode().split()[-1] == "1"


@root_only
def test_stop_sends_the_images_signal_and_waits(client: docker.DockerClient) -> None:
    box = run(client, LOOP)
    seen = b""
    for chunk in box.logs(stream=True, follow=True):
        seen += chunk
        if b"started" in seen:
            break
    box.stop(timeout=10)
    box.reload()
    assert (box.status, box.wait()["StatusCode"]) == ("exited", 3)
    assert b"ended" in box.logs()


@root_only
def test_a_kill_takes_everything_that_it_started_along(client: docker.DockerClient, host: Host) -> None:
    box = run(client, "sleep 300 & sleep 300 & echo there; wait")
    next(iter(box.logs(stream=True, follow=True)))
    mark = host.box(box.id).mark
    assert len([pid for pid, own in running.marked() if own == mark]) == 3
    box.kill()
    assert box.wait()["StatusCode"] == 137
    assert [pid for pid, own in running.marked() if own == mark and is_alive(pid)] == []


@pytest.fixture
def slow_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, what is started stays as it is before it has its container's mark."""

    def begin() -> None:
        script = tmp_path / "enter.py"
        script.write_text("import time\ntime.sleep(60)\n")
        monkeypatch.setattr(running, "ENTER", script)

    return begin


@root_only
@pytest.mark.parametrize("how", ["kill", "stop", "remove"])
def test_what_is_only_just_being_started_ends_too(
    client: docker.DockerClient, host: Host, slow_start: Callable[[], None], how: str
) -> None:
    slow_start()
    box = run(client, "true")
    first = host.box(box.id).program
    assert first is not None
    {"kill": box.kill, "stop": lambda: box.stop(timeout=0), "remove": lambda: box.remove(force=True)}[how]()
    assert first.process.wait(WAIT_S) < 0


@root_only
def test_a_command_that_is_only_just_being_started_ends_with_its_container(
    client: docker.DockerClient, host: Host, slow_start: Callable[[], None]
) -> None:
    box = run(client, "sleep 300")
    slow_start()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(box.exec_run, ["true"])
        deadline = time.monotonic() + WAIT_S
        while not host.box(box.id).others:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        box.kill()
        assert asked.result(WAIT_S).exit_code == 137


@root_only
def test_a_command_for_a_container_that_has_ended_meanwhile_is_refused(client: docker.DockerClient) -> None:
    box = run(client, "sleep 300")
    asked = client.api.exec_create(box.id, ["true"])["Id"]
    box.kill()
    box.wait()
    with pytest.raises(docker.errors.APIError, match="is not running"):
        client.api.exec_start(asked)


@root_only
def test_a_command_begun_while_its_container_ends_ends_too(client: docker.DockerClient, host: Host) -> None:
    box = host.box(run(client, "sleep 300").id)
    box.is_ending = True
    begun = box.further(lambda: running.Program(box.place(), ["sleep", "300"], running.Output()))
    assert begun.process.wait(WAIT_S) == -9


@root_only
def test_started_again_it_keeps_its_files_and_its_address(client: docker.DockerClient) -> None:
    network = client.networks.create("net")
    script = "echo again >> /tmp/kept; cat /tmp/kept"
    box = run(client, f"{script}", network=network.name, user="0")
    box.wait()
    first = box.attrs["NetworkSettings"]["Networks"]["net"]["IPAddress"]
    box.start()
    box.wait()
    box.reload()
    assert box.logs().decode().count("again") == 3
    assert box.attrs["NetworkSettings"]["Networks"]["net"]["IPAddress"] == first


@root_only
def test_exec_gives_both_outputs_and_the_status(client: docker.DockerClient) -> None:
    box = run(client, "sleep 300")
    answer = box.exec_run(["/bin/sh", "-c", "echo out; echo $MORE >&2; exit 9"], environment={"MORE": "x"}, demux=True)
    assert (answer.exit_code, answer.output) == (9, (b"out\n", b"x\n"))
    assert box.exec_run(["missing"]).exit_code == 127


@root_only
def test_exec_reads_what_it_is_sent(client: docker.DockerClient) -> None:
    box = run(client, "sleep 300")
    api = client.api
    socket = api.exec_start(api.exec_create(box.id, ["cat"], stdin=True)["Id"], socket=True)
    raw = getattr(socket, "_sock", socket)
    raw.sendall(b"hello\n")
    assert raw.recv(100)[8:] == b"hello\n"
    socket.close()


@root_only
def test_containers_of_a_network_know_one_another_by_name(client: docker.DockerClient) -> None:
    network, other = client.networks.create("net"), client.networks.create("other")
    first = run(client, "sleep 300", network=network.name, name="first", hostname="one")
    second = run(client, "sleep 300", network=network.name, name="second")
    stranger = run(client, "sleep 300", network=other.name, name="third")
    hosts = second.exec_run(["cat", "/etc/hosts"]).output.decode()
    address = first.attrs["NetworkSettings"]["Networks"]["net"]["IPAddress"]
    assert f"{address} one first" in hosts
    assert "third" not in hosts
    assert "first" not in stranger.exec_run(["cat", "/etc/hosts"]).output.decode()
    assert address.startswith("127.")


@root_only
def test_a_volume_outlives_its_container(client: docker.DockerClient) -> None:
    volume = client.volumes.create("kept", labels={"run": "7"})
    binds = {volume.name: {"bind": "/state", "mode": "rw"}}
    run(client, "echo kept > /state/file", volumes=binds, user="0").wait()
    client.containers.list(all=True)[0].remove(force=True, v=True)
    box = run(client, "cat /state/file", volumes=binds)
    box.wait()
    assert box.logs() == b"kept\n"
    with pytest.raises(docker.errors.APIError, match="in use"):
        volume.remove()
    assert [one.name for one in client.volumes.list(filters={"label": "run=7"})] == ["kept"]
    assert client.volumes.list(filters={"label": "run=8"}) == []


@root_only
def test_a_terminal_is_one(client: docker.DockerClient) -> None:
    box = run(client, "[ -t 0 ] && [ -t 1 ] && echo yes", tty=True)
    box.wait()
    assert box.logs() == b"yes\r\n"


def test_what_it_cannot_do_is_refused_in_words(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.APIError, match="knows no POST /networks/net/disconnect"):
        client.api.disconnect_container_from_network("x", "net")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nobody")


def test_addresses_are_given_once() -> None:
    network = Network(id="1", name="n", prefix="127.9.1", labels={})
    taken = [network.take(wanted) for wanted in ("", "127.9.1.100", "")]
    assert taken == ["127.9.1.2", "127.9.1.100", "127.9.1.3"]
    for wanted in ("127.9.1.100", "10.0.0.1"):
        with pytest.raises(Refused):
            network.take(wanted)


def test_marks_tell_the_engine_that_they_are_of() -> None:
    mark = running.mark_of(4_194_303, 300)
    assert mark < 2**32 - 1
    assert (running.engine_of(mark), running.engine_of(1000)) == (4_194_303, 0)


# The choice of it


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    monkeypatch.setattr(powers, "found", lambda: NOTHING)


def test_auto_takes_processes_where_no_container_starts(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing: None
) -> None:
    monkeypatch.setattr(powers, "found", lambda: Powers(mounts=False, network=False, users=False, chroot=True))
    engine = engines.choose(settings, tmp_path)
    assert isinstance(engine, ProcessEngine)
    assert set(engine.lacks) == {"network", "mounts", "proc"}
    assert any("plain processes" in sentence for sentence in engine.weaker)


def test_what_programs_are_given_is_said(settings: Settings) -> None:
    engine = ProcessEngine(given={"grid-worker": {"ISOLATION": "process"}})
    assert "the network test gave grid-worker ISOLATION=process" in engine.weaker


def test_without_chroot_it_says_what_to_do(load: Any, tmp_path: Path, nothing: None) -> None:
    with pytest.raises(EngineError, match="may not enter an unpacked root") as caught:
        engines.choose(load(environ={"XWHEP_ENGINE": "process"}), tmp_path)
    assert "rootless podman" in caught.value.next_step


@root_only
def test_the_service_ends_with_all_that_it_runs(tmp_path: Path) -> None:
    engine = ProcessEngine(given={})
    with engine.serving(tmp_path / "log") as address:
        client = docker.DockerClient(base_url=address)
        assert client.ping()
        assert cast(dict[str, str], client.version())["Version"] == "process"
        client.close()
    assert not Path(address.removeprefix("unix://")).parent.exists()


# Tests that need more than it has


def test_tests_that_need_more_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\n\n@pytest.mark.needs('proc', 'mounts')\ndef test_a(): assert False\n\ndef test_b(): pass\n\n"
        "@pytest.mark.needs('proc')\ndef test_not_chosen(): pass\n"
    )
    package = str(Path(engines.__file__).parents[1])
    environment = {"PATH": "/usr/bin", "PYTHONPATH": package, "XWHEP_TEST_LACKS": "proc", "XWHEP_TEST_OUTPUT": "."}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "xwhep_packaging.left_out", "-p", "no:cacheprovider"]
    argv += ["-k", "not chosen", "."]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed, 2 deselected" in done.stdout
    assert json.loads((tmp_path / "left_out.json").read_text()) == {"test_x::test_a": ["proc"]}


def test_following_an_output_ends_with_it() -> None:
    output = running.Output()
    output.add(1, b"a")
    found: list[tuple[int, bytes]] = []
    follower = threading.Thread(target=lambda: found.extend(output.follow(to_the_end=True)))
    follower.start()
    deadline = time.monotonic() + 5
    while not found and time.monotonic() < deadline:
        follower.join(0.01)
    output.add(2, b"b")
    output.end()
    follower.join(5)
    assert found == [(1, b"a"), (2, b"b")]
    assert list(output.follow(to_the_end=False)) == found
