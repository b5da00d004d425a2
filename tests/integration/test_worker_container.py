"""The wall that a worker can build inside a hardened container, for real: by podman, as root.

The image of the worker gives bubblewrap and Python; the code under test is this tree's, mounted.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xwhep_packaging.engines import PodmanEngine

SOURCES = Path(__file__).parents[2] / "src"
HARDENED = ["--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--network=none"]
# What runs in the container: it chooses a wall, then runs a shell script of standard input behind it, as a job.
INSIDE = """
import json, os, sys, tempfile
from pathlib import Path
from xwhep.worker import launch, processes, sandbox, walls
from xwhep.worker.flag import Flag
from xwhep.worker.sandbox import Command, Limits
from xwhep.worker.system_files import SystemFiles
processes.guard_this_process()
state, limits = Path("/var/lib/xwhep-worker"), Limits(processes=256, files=256)
wall = walls.choose("auto", limits, state)
job = state / "job.1"
job.mkdir()
launch.make_folders(job)
# Another process of the same user, as another job is; its id is one that the job's own namespace does not reach.
for _ in range(50):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
other = os.posix_spawn("/bin/sleep", ["sleep", "60"], {"SECRET": "of another"})
argv = ("/bin/sh", "-c", sys.stdin.read(), "sh", str(os.getpid()), str(other))
environment = sandbox.environment(sandbox.view(wall.isolation, job), {}, {"XWHEP_JOB_ID": "j", "XWHEP_ATTEMPT": "1"})
out, err, status = (tempfile.TemporaryFile() for _ in range(3))
with open(os.devnull, "rb") as stdin:
    streams = launch.Streams(stdin=stdin, stdout=out, stderr=err, status=status)
    command = Command(argv=argv, environment=environment, folder=job)
    launcher = launch.Launcher(wall, limits, 1.0, SystemFiles(state / "etc"))
    launcher._started[other] = {}  # so that it is no orphan
    ended = launcher.run(command, streams, Flag())
os.kill(other, 9)
texts = [os.pread(each.fileno(), 65536, 0).decode() for each in (out, err)]
print(json.dumps([wall.isolation, str(wall.form), ended.exit_code, *texts]))
"""


@pytest.fixture(scope="module")
def image(built: Any) -> str:
    """The worker's image of the build that all these tests share."""
    return next(str(image["digest"]) for image in built.latest()["images"] if image["name"] == "worker")


@pytest.fixture(scope="module", autouse=True)
def _podman_as_it_works_here(tmp_path_factory: pytest.TempPathFactory, image: str) -> Iterator[None]:
    """The settings that the pipeline itself finds on this machine."""
    folder = tmp_path_factory.mktemp("engine")
    found = PodmanEngine(memory=folder).configuration(folder / "log")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(found))
        yield


def behind_the_wall(image: str, script: str) -> tuple[str, str, int, str, str]:
    argv = ["podman", "run", "--rm", "--interactive", "--no-healthcheck", *HARDENED, "--env=PYTHONPATH=/src"]
    argv += [f"--volume={SOURCES}:/src:ro", "--entrypoint=python3", image, "-c", INSIDE]
    done = subprocess.run(argv, input=script, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    isolation, form, code, out, err = json.loads(done.stdout.splitlines()[-1])
    return isolation, form, code, out, err


def test_bubblewrap_is_the_wall_also_in_a_hardened_container(image: str) -> None:
    script = "pwd; ls /var/lib 2>&1; touch /usr/x /app/x /proc/x 2>/dev/null; echo $?; tail -n +3 /proc/net/dev"
    isolation, form, code, out, err = behind_the_wall(image, script)
    assert (isolation, code) == ("bubblewrap", 0), (form, err)
    lines = out.splitlines()
    assert lines[0] == "/job"
    assert "No such file" in lines[1]
    assert lines[2] == "1"
    assert [line.split(":")[0].strip() for line in lines[3:]] == ["lo"]


def test_a_job_there_reaches_neither_the_worker_nor_new_namespaces(image: str) -> None:
    script = """
    kill -0 $2; echo signal $?
    cat /proc/$1/environ; echo environ-of-worker $?
    cat /proc/$2/environ; echo environ-of-other $?
    ls /proc/$2/root/; echo root $?
    ls /proc/$2/cwd/; echo cwd $?
    unshare --user true; echo namespaces $?
    echo 1 > /proc/sys/kernel/hostname; echo write $?
    touch /dev/x; echo device $?
    """
    _, form, _, out, err = behind_the_wall(image, script)
    got = dict(line.split() for line in out.splitlines())
    assert set(got) == {
        *("signal", "environ-of-worker", "environ-of-other", "root", "cwd", "namespaces", "write", "device")
    }, (form, out, err)
    assert "0" not in got.values(), (form, out, err)
