"""The worker as a service: from its settings and its state folder to a running `Worker`, and signals to its end.

state/  identity.json ca-*.pem   who it is            0600
        cache/ spool/ rejected/  blobs and results    0700
        etc/                     what jobs see of /etc
        jobs/                    running jobs; whatever is there at start is from a life that was cut short
        lock status.json         one worker per folder; what it is doing
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from xwhep.common.errors import ConnectionFailed, NotAllowed, UsageError
from xwhep.common.join import JoinLine, parse_join_line
from xwhep.common.version import VERSION
from xwhep.worker import identity as identities
from xwhep.worker import processes
from xwhep.worker.assets import Assets
from xwhep.worker.board import Board, Status, sole_worker
from xwhep.worker.cache import Cache
from xwhep.worker.deployment import read_deployment
from xwhep.worker.execution import Workshop
from xwhep.worker.flag import Flag
from xwhep.worker.identity import Identity
from xwhep.worker.launch import Launcher, Wall
from xwhep.worker.loop import Terms, Worker
from xwhep.worker.machine import Host, ram_bytes
from xwhep.worker.owner import Owner
from xwhep.worker.retry import Stopped, patiently
from xwhep.worker.sandbox import BUBBLEWRAP, PROCESS, Form, Limits
from xwhep.worker.settings import Settings
from xwhep.worker.signatures import Signers
from xwhep.worker.spool import Spool
from xwhep.worker.system_files import SystemFiles
from xwhep.worker.trees import remove_tree
from xwhep.worker.walls import choose

log = logging.getLogger(__name__)

JOIN_VARIABLE, JOIN_FILE_VARIABLE = "XWHEP_JOIN", "XWHEP_JOIN_FILE"  # before the deployment's line


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; 0 then.

    Raises:
        XwhepError: it cannot start, or the server does not know it any more.
    """
    stop = Flag()
    stop_on_signals(stop)
    Signers(settings.signers)  # says at once when it cannot check them
    prepare_state(settings.state)
    with sole_worker(settings.state):
        processes.guard_this_process()
        wall = choose(settings.isolation, limits_of(settings), settings.state)
        _log_start(settings, wall)
        host = Host(settings.state, wall.isolation, settings.labels, settings.signers)
        assets = Assets(settings.shared_dir)
        try:
            identity = _identity(settings, host, assets, stop)
        except Stopped:
            return 0
        shop = _workshop(settings, identity, wall, assets)
        log.info("worker %s (%s) serves %s", identity.name, identity.worker_id, identity.address)
        owner = Owner(hours=settings.hours, load=settings.load_max, idle_s=settings.idle_s)
        Worker(identity, host, shop, Terms(settings.slots, owner)).run(stop)
    return 0


def limits_of(settings: Settings) -> Limits:
    return Limits(
        processes=settings.job_processes,
        files=settings.job_files,
        memory=settings.job_memory or ram_bytes(),
        disk=settings.job_disk,
    )


def stop_on_signals(stop: Flag) -> None:
    """SIGTERM, SIGINT, or a thread that breaks: all end in good order."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Else its slot would be gone for ever, silently; systemd or the container's keeper starts a whole worker again.
    threading.excepthook = _die


def _die(broken: threading.ExceptHookArgs) -> None:
    trace = "".join(traceback.format_exception(broken.exc_type, broken.exc_value, broken.exc_traceback))
    sys.stderr.write(f"the worker has a fault of its own and ends:\n{trace}")
    sys.stderr.flush()
    os._exit(1)


def prepare_state(state: Path) -> None:
    """Make the state folder, private. As root it lets through (not list) the user that jobs run as.

    Raises:
        NotAllowed: this user may not write there.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        if state.stat().st_uid == os.geteuid():
            state.chmod(0o711 if os.geteuid() == 0 else 0o700)
    except OSError as exc:
        raise NotAllowed(
            f"the state folder {state} cannot be used: {exc}", "name another with --state or XWHEP_WORKER_STATE"
        ) from exc
    if not os.access(state, os.W_OK | os.X_OK):
        raise NotAllowed(
            f"user {os.geteuid()} may not write to {state}", "name another with --state or XWHEP_WORKER_STATE"
        )


def prepare_jobs(state: Path) -> Path:
    """The folder of running jobs, empty: a job of an earlier life is not continued, its lease runs out."""
    jobs = state / "jobs"
    jobs.mkdir(mode=0o711, exist_ok=True)
    for pid in processes.strays(jobs):
        log.warning("process %d of a job of an earlier life is ended", pid)
        processes.send(pid, signal.SIGKILL)
    for leftover in jobs.iterdir():
        log.warning("%s was cut short in an earlier life and is removed", leftover.name)
        leftover.unlink() if leftover.is_symlink() else remove_tree(leftover)
    return jobs


def _log_start(settings: Settings, wall: Wall) -> None:
    how = f"{wall.isolation} with Landlock" if wall.confined else wall.isolation
    if wall.isolation == BUBBLEWRAP and wall.form != Form():
        how = f"{wall.isolation} as far as it works here (without {wall.form.lacks()})"
    log.info("xwhep-worker %s, state %s, %d slots, isolation %s", VERSION, settings.state, settings.slots, how)
    if wall.isolation == PROCESS:
        log.warning("no wall but this machine's users stands between its network and jobs; bubblewrap would be one")


def _identity(settings: Settings, host: Host, assets: Assets, stop: Flag) -> Identity:
    bound = read_deployment(settings.deployment)
    if found := identities.stored(settings.state):
        os.environ.pop(JOIN_VARIABLE, None)
        if bound and bound.authority and bound.address == found.address:
            identities.trust_also(found, bound.authority, settings.state)
        return found
    line = _join_line(bound)
    machine = host.announce(sorted(assets.installed()))
    # A container may start before its server does.
    return patiently(
        lambda: identities.join(line, settings.name, machine, settings.state), stop, "joining", (ConnectionFailed,)
    )


def _join_line(bound: JoinLine | None) -> JoinLine:
    text, file = os.environ.pop(JOIN_VARIABLE, ""), os.environ.get(JOIN_FILE_VARIABLE, "")
    if not text and file:
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"{JOIN_FILE_VARIABLE} cannot be read: {exc}", identities.HOW_TO_JOIN) from exc
    if not text and bound:
        return bound
    if not text:
        raise UsageError(
            f"this worker has joined no server yet, and {JOIN_VARIABLE} is not set", identities.HOW_TO_JOIN
        )
    return parse_join_line(text)


def _workshop(settings: Settings, identity: Identity, wall: Wall, assets: Assets) -> Workshop:
    status = Status(
        pid=os.getpid(),
        name=identity.name,
        worker_id=identity.worker_id,
        server=identity.address,
        isolation=wall.isolation,
        slots=settings.slots,
        started_at=time.time(),
        connected=False,
    )
    return Workshop(
        jobs=prepare_jobs(settings.state),
        session=identity.session(settings.state),
        cache=Cache(settings.state / "cache", settings.cache_max, settings.disk_reserve),
        assets=assets,
        launcher=Launcher(wall, limits_of(settings), settings.stop_grace, SystemFiles(settings.state / "etc")),
        spool=Spool(settings.state),
        board=Board(settings.state, status),
        signers=Signers(settings.signers),
    )
