"""A composed grid, up and down, by the real Compose on docker or on podman's socket.

up the server ──> healthy ──> its join line ──> secrets/worker.join ──> up the workers ──> healthy ──> a test job
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.deploy.files import SECRETS
from xwhep_packaging.engines import Engine
from xwhep_packaging.errors import DeployError, MissingTool

TOOLS = Path(__file__).parents[3] / ".tox" / "dev" / "bin"
JOIN_SECRET = "worker.join"  # noqa: S105 - the name of a file
WORKER_USER = 991  # as debian/xwhep-worker.sysusers says
HEALTHY_S = 120
CHECK_EVERY_S = 1.0
# The join line comes by standard input. The session is one of its own: the volume may hold somebody's.
TEST_JOB = """
export XWHEP_CLIENT_STATE=/tmp/deploy-check
mkdir -p /tmp/deploy-check && cd /tmp/deploy-check
xw login >/dev/null
printf '#!/bin/sh\\necho "the grid $1"\\n' >job.sh
xw app register deploy-check ./job.sh >/dev/null 2>register.log || [ $? = 8 ] || { cat register.log >&2; exit 1; }
job=$(xw job submit deploy-check -- works)
status=0
xw job wait "$job" --timeout 60 >/dev/null || status=$?
xw job results "$job" -o out >/dev/null && cat out/stdout
xw job rm "$job" >/dev/null || status=$?
xw logout >/dev/null
exit $status
"""


@dataclass(frozen=True, kw_only=True)
class Composed:
    """A grid described by `folder`/compose.yaml, under the project `name`; `address` is where its engine answers."""

    name: str
    folder: Path
    engine: Engine
    address: str
    log: Path

    def argv(self, *words: str) -> list[str]:
        return [*find_compose(), "--project-name", self.name, "--file", str(self.folder / "compose.yaml"), *words]

    def run(self, *words: str, what: str) -> None:
        """Call Compose; what it says goes to the log."""
        self._call(self.argv(*words), what=what, log=self.log)

    def ask(self, *words: str, what: str, text: str | None = None) -> str:
        """Call Compose for an answer, which may be a secret: it goes to no log."""
        return self._call(self.argv(*words), what=what, text=text)

    def _call(self, argv: list[str], *, what: str, log: Path | None = None, text: str | None = None) -> str:
        called = Command(
            argv=argv,
            cwd=self.folder,
            env={"DOCKER_HOST": self.address},
            log=log,
            input=text,
            timeout_s=HEALTHY_S * 2,
            error=DeployError,
            what=what,
            next_step=f"read the log; containers' own logs: {self.engine.name} logs {self.name}-server-1",
        )
        return command.run(called).stdout


def find_compose() -> list[str]:
    """How Compose is called here: the program of the tools or of the system, else docker's plug-in.

    Raises:
        MissingTool: there is none of version 2 or later.
    """
    places = [Path(sys.executable).parent, TOOLS, *map(Path, command.SYSTEM_PATH.split(":"))]
    programs = [[str(place / "docker-compose")] for place in places if (place / "docker-compose").is_file()]
    for argv in [*programs, ["docker", "compose"]]:
        with contextlib.suppress(MissingTool):
            answer = command.run(Command(argv=[*argv, "version", "--short"]), check=False)
            if answer.returncode == 0 and answer.stdout.strip().removeprefix("v").split(".")[0] not in ("", "1"):
                return argv
    raise MissingTool(
        "Compose is not installed", cause="version 2 or later is needed", next_step="scripts/doit --tools, which has it"
    )


def up(grid: Composed, workers: int) -> float:
    """Start the grid with that many workers, and let a job go through it; how long the job took, in seconds.

    Raises:
        DeployError: something does not become healthy, or the job fails.
    """
    wait = ("--detach", "--wait", "--wait-timeout", str(HEALTHY_S))
    with _health_checked(grid, ["server-1"]):
        grid.run("up", *wait, "server", what="the server does not become healthy")
    line = grid.ask("exec", "--no-TTY", "server", "xwhep-server", "join-line", "worker", what="there is no join line")
    keep_secret(grid.folder / SECRETS / JOIN_SECRET, line)
    with _health_checked(grid, [f"worker-{number}" for number in range(1, workers + 1)]):
        # Without what they depend on: on podman's socket Compose would make the server anew each time.
        words = (*wait, "--no-deps", "--scale", f"worker={workers}", "worker")
        grid.run("up", *words, what="the workers do not become healthy")
    return run_test_job(grid)


def run_test_job(grid: Composed) -> float:
    """Register, submit, wait and read, as a client of this grid."""
    started = time.monotonic()
    line = grid.ask("exec", "--no-TTY", "server", "xwhep-server", "join-line", "client", what="there is no join line")
    words = ("run", "--rm", "--no-TTY", "--no-deps", "client", "sh", "-euc", TEST_JOB)
    answer = grid.ask(*words, what="the test job fails", text=line)
    if answer.strip() != "the grid works":
        raise DeployError("the test job gives a wrong result", cause=command.last_lines(answer), log=grid.log)
    return time.monotonic() - started


def down(grid: Composed) -> None:
    """Stop and remove the containers and the network; the data of server and client stays in its volumes."""
    # A worker's own volume goes with it: one that comes back is a new worker.
    grid.run("rm", "--stop", "--force", "--volumes", "worker", what="the workers do not stop")
    grid.run("down", "--remove-orphans", what="the grid does not stop")


def keep_secret(path: Path, text: str) -> None:
    """A file that the worker's user can read in its container, and here only who may enter the folder."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    # Compose binds the file as it is, and only root can give it away; the folder keeps others out in both cases.
    if os.geteuid() == 0:
        os.chown(path, WORKER_USER, WORKER_USER)
    else:
        path.chmod(0o644)


@contextmanager
def _health_checked(grid: Composed, containers: list[str]) -> Iterator[None]:
    """podman leaves health checks to systemd's timers; where no systemd runs, nobody would make them."""
    stop = threading.Event()

    def check() -> None:
        while not stop.wait(CHECK_EVERY_S):
            for container in containers:
                grid.engine.check_health(grid.address, f"{grid.name}-{container}")

    thread = threading.Thread(target=check, name="health checks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
