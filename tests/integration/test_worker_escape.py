"""Jobs that try to get out of bubblewrap, or to take the machine with them. Every one is contained.

Each test is a program that attacks; what it prints says how far it came.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from xwhep.worker import processes, sandbox
from xwhep.worker.flag import Flag
from xwhep.worker.launch import Ended, Launcher, Streams, Wall, make_folders
from xwhep.worker.results import harvest
from xwhep.worker.sandbox import BUBBLEWRAP, FORMS, Command, Form, Limits
from xwhep.worker.system_files import SystemFiles
from xwhep.worker.trees import remove_tree
from xwhep.worker.walls import probe

MIB = 2**20
LIMITS = Limits(processes=100, files=100, memory=200 * MIB, disk=20 * MIB)
PYTHON = shutil.which("python3", path="/usr/bin") or "python3"


@dataclass
class Escape:
    ended: Ended
    out: str
    err: str
    folder: Path
    seconds: float


Attack = Callable[..., Escape]


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder like a worker's: jobs can pass through it, not list it."""
    path = Path(tempfile.mkdtemp(prefix="xwhep-escape-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=[FORMS[0], FORMS[-1]], ids=["machine", "container"])
def form(request: pytest.FixtureRequest, state: Path) -> Form:
    """The strongest wall, and the weakest that is still called bubblewrap."""
    if problem := probe(Wall(BUBBLEWRAP, form=request.param), LIMITS, state):
        pytest.skip(f"bubblewrap does not work here: {problem}")
    return request.param


@pytest.fixture
def attack(state: Path, form: Form) -> Iterator[Attack]:
    """Run a program of Python, or of sh when it does not import anything, as a job."""
    processes.guard_this_process()
    made: list[Path] = []
    launchers: dict[Limits, Launcher] = {}  # one for jobs at the same time: it ends what belongs to none of its own

    def run(program: str, *arguments: object, limits: Limits = LIMITS, wall_clock_s: float = 30.0) -> Escape:
        job = state / f"job.{len(made)}"
        made.append(job)
        job.mkdir()
        job.chmod(0o711)
        make_folders(job)
        interpreter = (PYTHON, "-c") if "import " in program else ("/bin/sh", "-c")
        marks = {"XWHEP_JOB_ID": job.name, "XWHEP_ATTEMPT": "1"}
        command = Command(
            argv=(*interpreter, program, *([] if "import " in program else ["sh"]), *map(str, arguments)),
            environment=sandbox.environment(sandbox.view(BUBBLEWRAP, job), {}, marks),
            folder=job,
            wall_clock_s=wall_clock_s,
        )
        if limits not in launchers:
            files = SystemFiles(state / f"etc{len(launchers)}")
            launchers[limits] = Launcher(Wall(BUBBLEWRAP, form=form), limits, 0.2, files)
        launcher = launchers[limits]
        before = time.monotonic()
        with contextlib.ExitStack() as stack:
            stdin = stack.enter_context(Path(os.devnull).open("rb"))
            out, err, status = (
                stack.enter_context((job / name).open("w+b")) for name in ("stdout", "stderr", "status")
            )
            ended = launcher.run(command, Streams(stdin=stdin, stdout=out, stderr=err, status=status), Flag())
        texts = [(job / name).read_bytes()[:100_000].decode(errors="replace") for name in ("stdout", "stderr")]
        return Escape(ended, *texts, job, time.monotonic() - before)

    yield run
    for job in made:
        remove_tree(job)


@pytest.fixture
def victim(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A process of the user that jobs run as, with a secret in its environment and its memory."""
    user = processes_user()
    process = subprocess.Popen(
        [PYTHON, "-c", "import time; print('up', flush=True); time.sleep(100)"],
        env={"SECRET": "of-the-victim"}, user=user, group=user, extra_groups=None if user is None else [],
        stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    real = processes.orphans  # a worker ends what it did not start: this one is another's
    monkeypatch.setattr(processes, "orphans", lambda known: real(known | {process.pid}))
    yield process.pid
    assert process.poll() is None, "the victim was killed"
    process.kill()
    process.wait()
    process.stdout.close()


def processes_user() -> int | None:
    return 65534 if os.geteuid() == 0 else None


# Network.


def test_no_network_of_any_kind(attack: Attack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as hidden:
        hidden.bind("\0xwhep-escape")
        hidden.listen()
        program = """
import socket, sys
for family, address in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_INET, ("10.0.0.1", 80)),
                        (socket.AF_INET6, ("::1", int(sys.argv[1]))), (socket.AF_UNIX, "\\0xwhep-escape")):
    try:
        with socket.socket(family) as one:
            one.settimeout(2)
            one.connect(address)
        print("connected", address)
    except OSError as exc:
        print("refused")
for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
    try:
        socket.socket(socket.AF_PACKET, kind)
        print("raw socket")
    except OSError:
        print("refused")
"""
        assert attack(program, listener.getsockname()[1]).out == "refused\n" * 6


# Other processes.


def test_no_process_outside_can_be_signalled(attack: Attack, victim: int) -> None:
    ran = attack("for pid in $1 $2; do kill -9 $pid; echo $?; done; kill -9 -1; echo survived", victim, os.getpid())
    assert ran.out.split()[:2] == ["1", "1"]


def test_nothing_outside_can_be_traced_or_read_through_proc(attack: Attack, victim: int) -> None:
    program = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
print("traced" if libc.ptrace(16, pid, 0, 0) == 0 else "refused")
buffer = ctypes.create_string_buffer(64)
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
local, remote = Iovec(ctypes.addressof(buffer), 64), Iovec(0x400000, 64)
print("read" if libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) > 0 else "refused")
for name in ("mem", "environ", "maps", "root/etc/hostname", "cwd/etc/hostname", "fd/1", "task/%d/mem" % pid):
    try:
        print("opened", name, open(f"/proc/{pid}/{name}", "rb").read(1))
    except OSError:
        print("refused")
"""
    assert attack(program, victim).out == "refused\n" * 9


def test_the_kernel_cannot_be_told_anything_through_proc_and_sys(attack: Attack) -> None:
    names = "/proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper"
    ran = attack(
        f"for file in {names} /proc/1/oom_score_adj; do (echo -900 > $file) 2>/dev/null && echo wrote $file; done"
    )
    assert ran.out == ""


# Namespaces and privileges.


def test_no_way_to_more_namespaces_or_privileges(attack: Attack) -> None:
    program = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x10000000 | 0x20000, 0x20000, 0x20000000, 0x40000000):
    print("unshared" if libc.unshare(flag) == 0 else "refused")
clone, clone3 = {"x86_64": (56, 435), "aarch64": (220, 435)}[platform.machine()]
pid = libc.syscall(clone, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
print("cloned" if pid > 0 else "refused")
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
pid = libc.syscall(clone3, ctypes.byref(arguments), 88)
if pid == 0:
    os._exit(0)
print("cloned" if pid > 0 else "refused")
for name in ("user", "mnt", "net"):
    print("joined" if libc.setns(os.open("/proc/self/ns/" + name, os.O_RDONLY), 0) == 0 else "refused")
print("mounted" if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else "refused")
try:
    os.setuid(0)
    print("root")
except OSError:
    print("refused")
try:
    os.mknod("disk", 0o60600, os.makedev(8, 0))
    print("device")
except OSError:
    print("refused")
"""
    assert attack(program).out == "refused\n" * 13


# Files.


def test_no_file_of_the_worker_or_of_others_is_in_sight(attack: Attack, state: Path) -> None:
    (state / "identity.json").write_text("token")
    (state / "job.other").mkdir()
    ran = attack(f"ls {state} /root /home /run /etc/shadow; cat {state}/identity.json; cat /job/../../identity.json")
    assert ran.out == ""
    assert ran.ended.exit_code != 0


def test_no_symlink_leads_the_worker_out(attack: Attack, state: Path) -> None:
    secret = state / "identity.json"
    secret.write_text("token")
    ran = attack(
        f"ln -s {secret} stolen; ln -s {state} dir; ln -s / root; ln -s /dev/zero endless; mkfifo pipe; echo x > x"
    )
    assert ran.ended.exit_code == 0, ran.err
    found = harvest(ran.folder / "work", {}, Flag())
    assert [file.path for file, _ in found.files] == ["x"]
    assert sorted(found.left_out) == ["dir", "endless", "pipe", "root", "stolen"]
    remove_tree(ran.folder)
    assert secret.read_text() == "token"


def test_no_open_file_is_inherited(attack: Attack, state: Path) -> None:
    with (state / "open").open("w") as leak:
        os.set_inheritable(leak.fileno(), True)
        ran = attack("ls -l /proc/self/fd")
        assert str(leak.name) not in ran.out
        assert len(ran.out.splitlines()) == 5, ran.out  # a total, three streams, and the folder that ls reads
        assert "status" not in ran.out


def test_the_system_cannot_be_changed(attack: Attack) -> None:
    places = "/ /usr /usr/bin /etc /app /dev /proc /var /sys"
    ran = attack(f"for place in {places}; do (echo x > $place/x) 2>/dev/null && echo wrote $place; done; true")
    assert ran.out == ""


# Taking more than a share.


def test_a_fork_bomb_stays_small_and_harms_no_other_job(attack: Attack) -> None:
    bomb = "import os, time\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.05)\n"
    thread = threading.Thread(target=lambda: results.append(attack(bomb, wall_clock_s=3.0)))
    results: list[Escape] = []
    thread.start()
    time.sleep(1.0)
    most = len(processes.descendants(os.getpid()))
    other = attack("echo fine; (exit 3)")
    thread.join(30)
    assert (other.out, other.ended.exit_code) == ("fine\n", 3)
    assert most <= LIMITS.processes + 20
    assert results[0].ended.reason == "wall clock limit"
    assert processes.descendants(os.getpid()) == []


def test_one_process_gets_no_more_memory_than_the_limit(attack: Attack) -> None:
    ran = attack("import sys\ntry:\n    x = bytearray(400 * 2**20)\nexcept MemoryError:\n    print('refused')")
    assert ran.out == "refused\n"


def test_many_processes_together_get_no_more_memory_than_the_limit(attack: Attack) -> None:
    program = "import os, time; os.fork(); os.fork(); x = b'y' * (100 * 2**20); time.sleep(30)"
    ran = attack(program)
    assert ran.ended.reason.startswith("memory limit: it used ")
    assert ran.seconds < 15


def test_memory_files_are_bounded(attack: Attack) -> None:
    ran = attack("head -c 400M /dev/zero > /dev/shm/x; stat -c %s /dev/shm/x; true")
    assert int(ran.out) <= 256 * MIB


def test_address_space_may_be_reserved(attack: Attack) -> None:
    """Java, Go, Haskell and JavaScript reserve much more than they use."""
    ran = attack("import mmap; m = mmap.mmap(-1, 2**34, prot=0x0, flags=0x22 | 0x4000); print('reserved')")
    assert ran.out == "reserved\n", ran.err


def test_one_file_grows_no_larger_than_the_limit(attack: Attack) -> None:
    ran = attack("exec head -c 100M /dev/zero > big")
    assert (ran.folder / "work/big").stat().st_size == LIMITS.disk
    assert ran.ended.reason == f"disk limit: one file grew to {LIMITS.disk} bytes"
    assert ran.ended.exit_code == 153


@pytest.mark.parametrize(
    "program",
    [
        "for i in 1 2 3 4; do head -c 15M /dev/zero > $i; done; sleep 30",
        "head -c 15M /dev/zero > $TMPDIR/x; head -c 15M /dev/zero; sleep 30",
        "mkdir d; cd d; while :; do : > $((n += 1)); done",
    ],
    ids=["files", "streams", "inodes"],
)
def test_all_files_together_are_no_more_than_the_limit(attack: Attack, program: str) -> None:
    ran = attack(program)
    assert ran.ended.reason == f"disk limit: it used more than {LIMITS.disk} bytes"
    assert ran.seconds < 20


def test_a_deep_tree_is_removed_and_the_worker_lives(attack: Attack) -> None:
    program = "import os\nfor _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\n"
    ran = attack(program, limits=replace(LIMITS, disk=0))
    assert ran.ended.exit_code == 0, ran.err
    remove_tree(ran.folder)
    assert not ran.folder.exists()


def test_it_cannot_hide_from_its_end(attack: Attack) -> None:
    program = """
import os, signal, time
for number in range(1, 32):
    if number not in (9, 19):
        signal.signal(number, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
print("up", flush=True)
time.sleep(91.75)
"""
    ran = attack(program, wall_clock_s=1.0)
    assert ran.ended.reason == "wall clock limit"
    assert ran.seconds < 10
    assert processes.descendants(os.getpid()) == []
