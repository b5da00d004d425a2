"""Measures a real server and real workers, each a process of its own, and prints one flat JSON object.

    python tests/bench/worker_figures.py [--source OTHER/src] [--samples 200]

submit_start_p50_ms, p99   a submission sent, to the first thing that its program does on a worker that waits
submit_result_s            `xw job submit --wait --output`, to the result on the client's disk, median
jobs1000_s                 1000 jobs submitted at once, all ended, on one worker
sandbox_ms                 what the wall adds to a program that ends at once, median of pairs
job_cost_ms                what the whole worker adds to it: folder, program, wall, result stored with fsync, median
lost_worker_s              kill -9 of a worker, to its job's start on another; leases of 2 s
lost_worker_default_s      the same with the leases that a server gives by default, 15 s
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from server_calls import SOURCE, Caller, Server, percentile, prepare, user

DATE = Path("/usr/bin/date").read_bytes()  # a program whose first act is to say when it started
SAY_AND_STAY = b"#!/bin/sh\n/usr/bin/date +%s.%N > saying; mv saying started; sleep 60\n"
FAR_S = 60.0
# As debian/stage.py writes it into the package: `python -m` would load what finds modules first.
LAUNCHER = "import sys; sys.path.insert(0, {source!r}); from xwhep.client.main import command; command()"


@dataclass
class Grid:
    """A server, and the processes around it, in one folder."""

    folder: Path
    source: Path
    flags: tuple[str, ...] = ()
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = Server(self.folder / "server", self.source)
        self.server.start(*self.flags)
        self.join_line = self.server.join_line("worker")

    def start_worker(self, name: str, slots: int) -> subprocess.Popen[bytes]:
        state = self.folder / name
        command = [sys.executable, "-m", "xwhep.worker.main", "run", "--state", str(state), "--name", name]
        environment = {**os.environ, "PYTHONPATH": str(self.source), "XWHEP_JOIN": self.join_line}
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--slots", str(slots)], env=environment, stdin=subprocess.DEVNULL, stderr=log
            )
        self.workers.append(process)
        return process

    def client(self, *words: str, stdin: str = "") -> None:
        environment = {**os.environ, "XWHEP_CLIENT_STATE": str(self.folder / "client")}
        command = [sys.executable, "-I", "-c", LAUNCHER.format(source=str(self.source)), *words]
        subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=True)

    def stop(self) -> None:
        for process in self.workers:
            process.terminate()
        for process in self.workers:
            process.wait(20)
        self.server.stop()


@contextmanager
def grid(source: Path, *flags: str) -> Iterator[Grid]:
    folder = Path(tempfile.mkdtemp(prefix="xwhep-bench-"))
    folder.chmod(0o711)  # the user that runs jobs must get through
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        made = Grid(folder, source, flags)
        stack.callback(made.stop)
        yield made


async def until_ended(caller: Caller, job: dict[str, Any]) -> dict[str, Any]:
    ended = ("completed", "failed", "cancelled")
    while job["state"] not in ended:
        job = await caller.get(f"/v1/jobs/{job['id']}?seen={job['revision']}&wait=30")
    assert job["state"] == "completed", job
    return job


async def stdout_of(caller: Caller, job: dict[str, Any]) -> str:
    _, content = await caller.call("GET", f"/v1/blobs/{job['result']['stdout']['sha256']}")
    return content.decode()


async def worker_is_idle(caller: Caller) -> None:
    deadline = time.monotonic() + FAR_S
    while "idle" not in [each["state"] for each in await caller.get("/v1/workers")]:
        assert time.monotonic() < deadline, "no worker came"
        await asyncio.sleep(0.02)


async def start_times_ms(made: Grid, samples: int) -> list[float]:
    await prepare(made.server, DATE, "date")
    caller = await user(made.server)
    await worker_is_idle(caller)
    times = []
    for number in range(samples + 5):  # the first few fill caches, as on every worker that has run the app before
        began = time.time()
        job = await caller.post("/v1/jobs", {"app": "date", "args": ["+%s.%N"]})
        started = float(await stdout_of(caller, await until_ended(caller, job)))
        if number >= 5:
            times.append((started - began) * 1000)
        await asyncio.sleep(0.05)  # so that the worker waits again: the figure is about one that does
    return times


async def jobs_s(made: Grid, count: int) -> float:
    caller = await user(made.server)
    began = time.perf_counter()
    ids = (await caller.post("/v1/jobs/bulk", {"jobs": [{"app": "date"}] * count}))["ids"]
    for job_id in ids:
        await until_ended(caller, await caller.get(f"/v1/jobs/{job_id}"))
    return time.perf_counter() - began


def submit_results_s(made: Grid, count: int) -> list[float]:
    made.client("login", stdin=made.server.join_line("client"))
    times = []
    for number in range(count):
        began = time.perf_counter()
        made.client("job", "submit", "date", "--wait", "--output", str(made.folder / f"out{number}"))
        times.append(time.perf_counter() - began)
        assert (made.folder / f"out{number}/stdout").stat().st_size
    return times


def measure_one_worker(source: Path, samples: int) -> dict[str, float]:
    with grid(source) as made:
        made.start_worker("node", slots=os.cpu_count() or 1)
        starts = uvloop.run(start_times_ms(made, samples))
        results = submit_results_s(made, max(5, samples // 10))
        jobs1000_s = uvloop.run(jobs_s(made, 1000))
    return {
        "submit_start_p50_ms": round(statistics.median(starts), 2),
        "submit_start_p99_ms": round(percentile(starts, 0.99), 2),
        "submit_result_s": round(statistics.median(results), 4),
        "jobs1000_s": round(jobs1000_s, 2),
    }


async def started_at(made: Grid, name: str) -> float:
    """When the job on that worker says that it started."""
    deadline = time.monotonic() + FAR_S
    while not (found := list((made.folder / name / "jobs").glob("*/*/started"))):
        assert time.monotonic() < deadline, f"nothing starts on {name}"
        await asyncio.sleep(0.005)
    return float(found[0].read_text())


async def lost_s(made: Grid) -> float:
    await prepare(made.server, SAY_AND_STAY, "stay")
    caller = await user(made.server)
    first = made.start_worker("first", slots=1)
    await worker_is_idle(caller)
    await caller.post("/v1/jobs", {"app": "stay"})
    await started_at(made, "first")
    made.start_worker("second", slots=1)
    await worker_is_idle(caller)
    killed = time.time()
    first.kill()
    return await started_at(made, "second") - killed


def measure_lost(source: Path, *flags: str) -> float:
    with grid(source, *flags) as made:
        return round(uvloop.run(lost_s(made)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--source", type=Path, default=SOURCE, help="the code to measure")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have their byte code
    figures = measure_one_worker(arguments.source, arguments.samples)
    script = Path(__file__).with_name("sandbox_figures.py")
    environment = {**os.environ, "PYTHONPATH": str(arguments.source)}
    walls = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    figures |= json.loads(walls.stdout)
    figures["lost_worker_s"] = measure_lost(arguments.source, "--lease-seconds", "2")
    figures["lost_worker_default_s"] = measure_lost(arguments.source)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
