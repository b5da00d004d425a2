"""The main job as a stranger does it: whole builds of this repository in clones elsewhere on the machine."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging.leftovers import working_containers

NOOP_LIMIT_S = 1.0
KILLS, MORE_KILLS = 2, 50  # the others at night: 25 s each
ROLES = {"server", "worker", "client"}


def keys(report: dict[str, Any], *prefixes: str) -> dict[str, str]:
    return {name: key for name, key in report["keys"].items() if name.startswith(prefixes)}


def test_build_gives_packages_images_and_a_verdict(built: Any) -> None:
    report = built.latest()
    assert report["verdict"] == "passed"
    assert {row["package"] for row in report["debs"]} >= {f"xwhep-{role}" for role in ROLES}
    assert {row["name"] for row in report["images"]} == ROLES
    for row in report["debs"]:
        assert re.fullmatch(r"[0-9a-f]{64}", row["sha256"])
        assert Path(row["path"]).stat().st_size == row["size"]
    for image in report["images"]:
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", image["digest"])
        assert any(re.fullmatch(r"xw(server|worker|client)img_\d{4}(-\d\d){5}:latest", tag) for tag in image["tags"])


def test_images_share_all_but_one_thin_layer(built: Any) -> None:
    images = built.latest()["images"]
    assert len({image["layers"][0] for image in images}) == 1
    assert all(len(image["layers"]) == 2 for image in images)
    assert all(image["layer_sizes"][1] < 3_000_000 for image in images)


def processor_s() -> float:
    """What all children that have ended took: other load on the machine stretches it less than the clock's time."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_second_build_runs_nothing(built: Any) -> None:
    before = (built.store / "latest.json").read_bytes()
    times = []
    for _ in range(3):
        started = processor_s()
        out = built.doit("build")
        times.append(processor_s() - started)
        assert "·" not in out
        assert "verdict  passed" in out
    assert (built.store / "latest.json").read_bytes() == before
    assert min(times) < NOOP_LIMIT_S


def test_a_commit_that_ships_nothing_remakes_no_package_and_no_image(built: Any) -> None:
    before = built.latest()
    built.change("docs/note.md", "A note.\n")
    out = built.doit("build")
    after = built.latest()
    assert "debs:" not in out.split("packages\n")[0]
    assert keys(after, "source", "debs", "base", "images") == keys(before, "source", "debs", "base", "images")
    assert after["commit"] != before["commit"]
    assert [row["digest"] for row in after["images"]] == [row["digest"] for row in before["images"]]


def test_a_line_in_the_worker_remakes_packages_thin_layers_and_verdict_never_the_base(built: Any) -> None:
    before = built.latest()
    built.change("src/xwhep/worker/main.py", "# one more line\n")
    out = built.doit("build")
    after = built.latest()
    assert keys(after, "base") == keys(before, "base")
    assert "base:" not in out.split("packages\n")[0]
    assert all(keys(after, name) != keys(before, name) for name in ("source", "debs", "images:worker", "network_test"))
    assert after["images"][1]["layers"][0] == before["images"][1]["layers"][0]
    assert after["verdict"] == "passed"


def test_uncommitted_changes_are_not_built_and_this_is_said(built: Any) -> None:
    before = built.latest()
    path = built.folder / "src" / "xwhep" / "worker" / "main.py"
    content = path.read_text()
    path.write_text(content + "raise SystemExit(1)\n")
    try:
        out = built.doit("build")
    finally:
        path.write_text(content)
    assert "not in this commit" in out
    assert keys(built.latest(), "debs", "images") == keys(before, "debs", "images")


def told(file: Path) -> dict[str, set[str]]:
    """Event to tasks, as a run told them; a line that a kill cut short is none."""
    found: dict[str, set[str]] = {"started": set(), "ended": set(), "up-to-date": set()}
    for line in file.read_text().splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            found.setdefault(event["event"], set()).add(event.get("task", ""))
    return found


def nothing_is_left(built: Any, process: subprocess.Popen[str]) -> None:
    """No half output, no mount, no container, no working container of a bake of the run that was stopped; other tests
    stop bakes of their own at the same time."""
    assert not list((built.store / "tmp").iterdir())
    assert str(built.store) not in Path("/proc/mounts").read_text()
    assert not containers(built)
    assert not bakes(process)


def bakes(process: subprocess.Popen[str]) -> bool:
    """Whether a working container of this run is there."""
    return process.pid in working_containers().values()


def kill_in_time(process: subprocess.Popen[str], attempt: int) -> None:
    """The first time while an image is baked, which leaves most behind, then at random."""
    deadline = time.monotonic() + (60 if attempt == 0 else random.Random(time.time_ns()).uniform(0.2, 16))
    while process.poll() is None and time.monotonic() < deadline and not (attempt == 0 and bakes(process)):
        time.sleep(0.02)
    assert attempt or bakes(process), "no image was baked"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "attempt", [*range(KILLS), *(pytest.param(n, marks=pytest.mark.nightly) for n in range(KILLS, MORE_KILLS))]
)
def test_killed_build_is_taken_up_again(built: Any, tmp_path: Path, attempt: int) -> None:
    """SIGKILL to the whole process group at a random moment; what was half made is never taken for whole, and what was
    finished is not made again."""
    built.change("src/xwhep/client/main.py", f"# kill {attempt}\n")
    first, second = tmp_path / "killed", tmp_path / "again"
    process = built.start("build", f"events={first}")
    kill_in_time(process, attempt)
    process.communicate()
    built.doit("build", f"events={second}")
    report, killed, again = built.latest(), told(first), told(second)
    assert report["verdict"] == "passed"
    assert report["commit"] == built.git("rev-parse", "HEAD")
    remade = killed["ended"] & again["started"] - {"build"}
    assert not remade, f"finished, and made again: {remade}"
    assert killed["up-to-date"] <= again["up-to-date"]
    nothing_is_left(built, process)


def containers(built: Any) -> list[str]:
    """Names of podman's containers of images of this very commit, which no other clone has: images of earlier ones may
    run in other tests now."""
    commit = built.git("rev-parse", "HEAD")
    only = f"--filter=label=org.opencontainers.image.revision={commit}"
    argv = ["podman", "ps", "--all", "--format={{.Names}}", only]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_interrupted_build_says_so_cleans_up_and_keeps_what_is_finished(
    built: Any, tmp_path: Path, number: signal.Signals
) -> None:
    built.change("src/xwhep/client/main.py", f"# interrupt {number}\n")
    events = tmp_path / "events"
    process = built.start("build", f"events={events}")
    assert process.stdout
    for line in process.stdout:
        if "network_test" in line:
            break
    deadline = time.monotonic() + 60
    while not containers(built):
        assert time.monotonic() < deadline, "the network test starts no container"
        time.sleep(0.1)
    process.send_signal(number)
    out = process.stdout.read()
    assert process.wait(30) == 130
    assert "type it again" in out
    assert "Traceback" not in out
    nothing_is_left(built, process)
    planned = {row["step"]: row["state"] for row in json.loads(built.doit("plan", "--json"))["steps"]}
    ended = told(events)["ended"]
    assert "images:client" in ended
    assert {planned[step] for step in ended} == {"up to date"}


def test_damaged_output_is_remade(built: Any) -> None:
    built.doit("build")
    deb = Path(built.latest()["debs"][0]["path"])
    stat = deb.stat()
    content = deb.read_bytes()
    deb.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(deb, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    out = built.doit("build")
    assert "debs:xwhep" in out
    assert deb.read_bytes() == content


def test_docker_daemon_is_used_when_one_answers(built: Any, docker_daemon: str) -> None:
    built.doit("build", DOCKER_HOST=docker_daemon)
    report = built.latest()
    assert report["engine"] == "docker"
    assert report["verdict"] == "passed"
    digests = {image["digest"] for image in report["images"]}
    built.doit("build", DOCKER_HOST=docker_daemon, XWHEP_ENGINE="podman")
    assert built.latest()["engine"] == "podman"
    assert {image["digest"] for image in built.latest()["images"]} == digests


def test_docker_forced_without_a_daemon_is_one_clear_error(built: Any) -> None:
    out = built.doit("build", code=18, XWHEP_ENGINE="docker", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert "error [engine]: no docker daemon answers" in out
    assert "XWHEP_ENGINE=podman" in out
    assert "Traceback" not in out


def test_two_builds_at_once_share_and_both_succeed(built: Any) -> None:
    built.change("src/xwhep/client/main.py", "# twice\n")
    first, second = built.start("build"), built.start("build")
    outs = [process.communicate(timeout=600)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outs
    assert json.loads((built.store / "latest.json").read_text())["verdict"] == "passed"
