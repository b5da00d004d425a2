"""What one job costs a worker, without a server: the wall alone, and everything from the lease to the stored result.

    PYTHONPATH=src python tests/bench/sandbox_figures.py

Each sample is a pair, measured one after the other: /usr/bin/true behind the wall, and /usr/bin/true alone.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from xwhep.common.wire import Lease
from xwhep.worker.assets import Assets
from xwhep.worker.board import Attempt, Board, Status
from xwhep.worker.cache import Cache
from xwhep.worker.execution import Workshop, execute
from xwhep.worker.flag import Flag
from xwhep.worker.launch import Launcher, Streams, make_folders
from xwhep.worker.sandbox import Command, Limits
from xwhep.worker.session import Session
from xwhep.worker.spool import Spool
from xwhep.worker.system_files import SystemFiles
from xwhep.worker.walls import choose

PAIRS = 200
LIMITS = Limits(processes=1024, files=4096, memory=2**33, disk=2**33)
ASSET = 'name = "true"\ncommand = ["/usr/bin/true"]\n'


def plain_ms() -> float:
    began = time.perf_counter()
    subprocess.run(["/usr/bin/true"], check=True)
    return (time.perf_counter() - began) * 1000


def walled_ms(launcher: Launcher, folder: Path) -> float:
    command = Command(argv=("/usr/bin/true",), environment={"PATH": "/usr/bin"}, folder=folder)
    with Path(os.devnull).open("r+b") as null, tempfile.TemporaryFile() as status:
        began = time.perf_counter()
        ended = launcher.run(command, Streams(stdin=null, stdout=null, stderr=null, status=status), Flag())
        spent = (time.perf_counter() - began) * 1000
    assert ended.exit_code == 0, ended
    return spent


def workshop(state: Path, launcher: Launcher) -> Workshop:
    (state / "shared").mkdir()
    (state / "shared" / "true.toml").write_text(ASSET)
    (state / "jobs").mkdir(mode=0o711)
    status = Status(pid=1, name="n", worker_id="w", server="s", isolation="", slots=1, started_at=0, connected=True)
    return Workshop(
        jobs=state / "jobs",
        session=Session.__new__(Session),  # nothing is downloaded
        cache=Cache(state / "cache", 2**30),
        assets=Assets(state / "shared"),
        launcher=launcher,
        spool=Spool(state),
        board=Board(state, status),
    )


def job_ms(shop: Workshop, number: int) -> float:
    lease = Lease(job_id=f"job{number}", attempt=1, until=0, heartbeat_s=1, app="true", shared="true")
    began = time.perf_counter()
    parcel = execute(Attempt(lease), shop)
    spent = (time.perf_counter() - began) * 1000
    assert parcel is not None
    assert parcel.message.result.exit_code == 0, parcel.message
    shop.spool.drop(parcel)
    return spent


def main() -> None:
    state = Path(tempfile.mkdtemp(prefix="xwhep-bench-"))
    state.chmod(0o711)
    try:
        wall = choose("auto", LIMITS, state)
        launcher = Launcher(wall, LIMITS, 0, SystemFiles(state / "etc"))
        make_folders(state)
        shop = workshop(state, launcher)
        walls = [walled_ms(launcher, state) - plain_ms() for _ in range(PAIRS)]
        jobs = [job_ms(shop, number) - plain_ms() for number in range(PAIRS)]
    finally:
        shutil.rmtree(state, ignore_errors=True)
    print(
        json.dumps({"sandbox_ms": round(statistics.median(walls), 2), "job_cost_ms": round(statistics.median(jobs), 2)})
    )


if __name__ == "__main__":
    main()
