"""Measures the server alone, over loopback TLS with rights on and durable commits, and prints one flat JSON object.

    python tests/bench/server_figures.py [--lives 20000] [--source OTHER/src]

server_ready_s            process start to "ready", median of 5, state folder made before
server_first_start_s      the same with no state folder: authority, certificate, admin made
server_rest_mb            resident memory after the start
submit_lease_p50_ms, p99  a submission sent, to its lease in the hands of a worker that waited for it
lives_per_s               submit, match, lease, result, complete: users submit 50 at once, workers have 8 slots each
lives_cpu_us              processor time that the server spends on one of these, all its threads
lives_single_per_s        the same with one request for each step of each job: submit, lease, upload, result
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from server_calls import EMPTY, MACHINE, SOURCE, Caller, Server, percentile, prepare, user, worker

BULK = 50
SLOTS = 8
BACKLOG = 2000  # jobs submitted and not yet ended, as in a grid that is busy all the time


def result_of(lease: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """A WorkResult, and the output that it names."""
    content = f"output of {lease['job_id']}\n".encode()
    stdout = {"path": "stdout", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    result = {"exit_code": 0, "stdout": stdout, "stderr": EMPTY, "wall_s": 0.1}
    return {"job_id": lease["job_id"], "attempt": lease["attempt"], "result": result}, content


async def finish(caller: Caller, lease: dict[str, Any]) -> None:
    message, content = result_of(lease)
    await caller.upload(content)
    await caller.post("/v1/worker/result", message)


async def submit_to_lease_ms(server: Server, count: int) -> list[float]:
    submitter, taker = await user(server), await worker(server, "waiting")
    times = []
    for _ in range(count):
        waiting = asyncio.create_task(taker.post("/v1/worker/request", {"machine": MACHINE, "wait_s": 30}))
        await asyncio.sleep(0.01)  # so that it is parked: the figure is about a worker that waits
        began = time.perf_counter()
        submission = asyncio.create_task(submitter.post("/v1/jobs", {"app": "bench"}))
        lease = await waiting
        times.append((time.perf_counter() - began) * 1000)
        await submission
        await finish(taker, lease)
    return times


@dataclass
class Load:
    """So many whole lives."""

    lives: int
    submitted: int = 0
    done: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, count: int) -> int:
        """How many to submit now; 0 when all are."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.submitted - self.done < BACKLOG)
            taken = min(count, self.lives - self.submitted)
            self.submitted += taken
            return taken

    async def ended(self, count: int) -> None:
        async with self.changed:
            self.done += count
            self.changed.notify_all()

    @property
    def goes_on(self) -> bool:
        return self.done < self.lives

    async def submit_bulk(self, caller: Caller) -> None:
        while count := await self.take(BULK):
            await caller.post("/v1/jobs/bulk", {"jobs": [{"app": "bench", "args": ["-v"]}] * count})

    async def work_bulk(self, caller: Caller) -> None:
        while self.goes_on:
            found = await caller.post("/v1/worker/leases", {"machine": MACHINE, "slots": SLOTS, "wait_s": 0.2})
            if found is None:
                continue
            pairs = [result_of(lease) for lease in found["leases"]]
            message = {"results": [result for result, _ in pairs], "contents": [content for _, content in pairs]}
            told = await caller.post("/v1/worker/results", message)
            assert not any(told["outcomes"]), told
            await self.ended(len(pairs))

    async def submit_single(self, caller: Caller) -> None:
        while await self.take(1):
            await caller.post("/v1/jobs", {"app": "bench", "args": ["-v"]})

    async def work_single(self, caller: Caller) -> None:
        while self.goes_on:
            lease = await caller.post("/v1/worker/request", {"machine": MACHINE, "wait_s": 0.2})
            if lease is not None:
                await finish(caller, lease)
                await self.ended(1)


async def lives(server: Server, count: int, callers: int, *, bulk: bool) -> dict[str, float]:
    users = [await user(server) for _ in range(callers // 4 if bulk else callers)]
    workers = [await worker(server, f"node{number}") for number in range(callers)]
    load, name = Load(count), "lives" if bulk else "lives_single"
    submitting, working = (load.submit_bulk, load.work_bulk) if bulk else (load.submit_single, load.work_single)
    began, used = time.perf_counter(), server.cpu_s()
    await asyncio.gather(*map(submitting, users), *map(working, workers))
    spent_s, cpu_s = time.perf_counter() - began, server.cpu_s() - used
    return {f"{name}_per_s": round(count / spent_s, 1), f"{name}_cpu_us": round(cpu_s / count * 1e6, 1)}


async def measure_calls(server: Server, arguments: argparse.Namespace) -> dict[str, float]:
    await prepare(server)
    times = await submit_to_lease_ms(server, arguments.samples)
    figures = {
        "submit_lease_p50_ms": round(statistics.median(times), 2),
        "submit_lease_p99_ms": round(percentile(times, 0.99), 2),
        **await lives(server, arguments.lives // 10, arguments.callers, bulk=False),
    }
    if not arguments.single:
        figures |= await lives(server, arguments.lives, arguments.callers, bulk=True)
    return figures


def measure_starts(server: Server) -> dict[str, float]:
    figures = {"server_first_start_s": round(server.start(), 3)}
    ready = []
    for _ in range(5):
        server.stop()
        ready.append(server.start())
    return {
        **figures,
        "server_ready_s": round(statistics.median(ready), 3),
        "server_rest_mb": round(server.memory_mb(), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--single", action="store_true", help="leave lives_per_s out: for versions without bulk routes")
    parser.add_argument("--source", type=Path, default=SOURCE, help="the code to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "state", arguments.source)
        try:
            figures = measure_starts(server)
            figures.update(uvloop.run(measure_calls(server, arguments)))
        finally:
            server.stop()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
