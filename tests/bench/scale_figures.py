"""Measures one server under very much: many jobs at once, many workers that wait; prints one flat JSON object.

    python tests/bench/scale_figures.py [--workers 10000]

bulk_100k_s            100 000 jobs submitted in one request, to the answer
idle_workers_10k_mb    what the server's memory grows by while so many workers wait for a job, each on its connection
idle_workers           how many these were: both ends count against this machine's limit of open files, so the callers
                       are processes of their own, each with its own address
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import uvloop
from server_calls import MACHINE, Caller, Server, enrolled, prepare, user

JOBS = 100_000
PER_PROCESS = 5000
AT_ONCE = 50  # handshakes under way in one process
WAIT_S = 60.0  # the longest that a server holds a request


async def bulk_s(server: Server) -> float:
    await prepare(server)
    caller = await user(server)
    body = {"jobs": [{"app": "bench", "args": ["--seed", str(number)]} for number in range(JOBS)]}
    began = time.perf_counter()
    assert len((await caller.post("/v1/jobs/bulk", body))["ids"]) == JOBS
    return time.perf_counter() - began


async def _wait_for_ever(caller: Caller) -> None:
    while True:
        await caller.post("/v1/worker/leases", {"machine": {**MACHINE, "arch": "none"}, "slots": 8, "wait_s": WAIT_S})


async def idle_workers(server: Server, number: int, count: int, parked: Any, ended: Event) -> None:
    """So many workers, each with its own token and connection, from one address."""
    address, gate = f"127.0.0.{10 + number}", asyncio.Semaphore(AT_ONCE)
    polls = []

    async def park(which: int, token: str) -> None:
        async with gate:
            caller = await Caller(server, token).open(address)
        polls.append(asyncio.create_task(_wait_for_ever(caller)))

    stranger = await Caller(server).open(address)
    tokens = [await enrolled(stranger, server, f"idle{number}-{each}") for each in range(count)]
    await asyncio.gather(*(park(which, token) for which, token in enumerate(tokens)))
    await asyncio.sleep(0)
    with parked.get_lock():
        parked.value += len(polls)
    while not ended.is_set():
        await asyncio.sleep(0.2)
        broken = [poll for poll in polls if poll.done()]
        assert not broken, broken[0]


def _idle_process(state: Path, port: int, place: tuple[int, int], shared: tuple[Any, Event]) -> None:
    _allow_many_connections()
    server = Server(state)
    server.port = port
    uvloop.run(idle_workers(server, *place, *shared))


def _allow_many_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def idle_mb(server: Server, workers: int) -> dict[str, float]:
    before = server.memory_mb()
    context = multiprocessing.get_context("spawn")
    parked, ended = context.Value("i", 0), context.Event()
    counts = [min(PER_PROCESS, workers - first) for first in range(0, workers, PER_PROCESS)]
    processes = [
        context.Process(target=_idle_process, args=(server.state, server.port, (number, count), (parked, ended)))
        for number, count in enumerate(counts)
    ]
    for process in processes:
        process.start()
    while parked.value < workers and all(process.is_alive() for process in processes):
        time.sleep(0.2)
    time.sleep(2)  # the last requests arrive
    held, grown = parked.value, server.memory_mb() - before
    ended.set()
    for process in processes:
        process.join(30)
    return {"idle_workers": held, "idle_workers_10k_mb": round(grown, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "state")
        try:
            server.start()
            figures = idle_mb(server, arguments.workers)
            figures["bulk_100k_s"] = round(uvloop.run(bulk_s(server)), 2)
        finally:
            server.stop()
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
