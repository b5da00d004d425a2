"""What a rebuild can have different from the first build, one by one, and whether this machine can do it.

variation ──> words before the command, environment, [surroundings] of the pipeline file, another folder
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.definitions import Surroundings
from xwhep_packaging.stages.debs.chroot import CLOCK_LIBRARIES

if TYPE_CHECKING:
    from xwhep_packaging.verify.causes import Known

CLOCK_DAYS = 400
IMAGES = "verify"  # names of a rebuild's images: IMAGES-PID-RANDOM-ROLE
NOISE = "noise-of-the-environment"
OLDEST_PYTHON, NEWEST_PYTHON = 11, 14
# What people have in their shells, and what has changed packages before.
NOISY = {
    "CFLAGS": f"-D{NOISE}",
    "DEB_BUILD_OPTIONS": "noopt nostrip",
    "DEBEMAIL": f"{NOISE}@example.invalid",
    "GZIP": "-1",
    "LANGUAGE": "fr",
    "MAKEFLAGS": "--keep-going",
    "PYTHONHASHSEED": "7",
    "SOURCE_DATE_EPOCH": "1",
    "TAR_OPTIONS": "--mode=a+rwx",
    "XZ_OPT": "-0",
}


class Variation(msgspec.Struct, frozen=True, kw_only=True):
    """One difference. `wrap` goes before the command, `surroundings` into the pipeline file of the clone.

    `hinders` says why this machine cannot do it; empty: it can. `apart`: others that it does not go with, and why.
    """

    name: str
    doc: str
    wrap: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    surroundings: Mapping[str, str | int] = {}
    hinders: Callable[[], str] = str
    apart: Mapping[str, str] = {}


def _shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", f'{script} && exec "$@"', "sh")


def _needs_tool(*tools: str) -> Callable[[], str]:
    def hinders() -> str:
        missing = [tool for tool in tools if shutil.which(tool, path=command.SYSTEM_PATH) is None]
        return f"{' and '.join(missing)} is not installed" if missing else ""

    return hinders


def _clock_hinders() -> str:
    if not list(Path("/usr/lib").glob(CLOCK_LIBRARIES)):
        return "faketime is not installed"
    return _needs_tool("faketime")()


def _order_hinders() -> str:
    if os.geteuid() != 0:
        return "only root may mount disorderfs where builds see it"
    return _needs_tool("disorderfs", "fusermount")() or ("" if Path("/dev/fuse").exists() else "there is no /dev/fuse")


def _host_hinders() -> str:
    return "" if os.geteuid() == 0 else "only root may give a name of its own to a namespace here"


def _cpus_hinders() -> str:
    return _needs_tool("taskset")() or ("" if len(os.sched_getaffinity(0)) > 1 else "this machine has one processor")


def _engine_hinders() -> str:
    return "" if os.geteuid() == 0 else "isolation oci is tried as root only"


def other_python() -> str:
    """Another minor version of Python that the pipeline runs on, by its path; empty when there is none."""
    mine = sys.version_info.minor
    for minor in range(NEWEST_PYTHON, OLDEST_PYTHON - 1, -1):
        path = shutil.which(f"python3.{minor}") if minor != mine else None
        if path and _is_python(path, minor):
            return path
    return ""


def _is_python(path: str, minor: int) -> bool:
    """Whether it is what its name says: a version manager's stand-in may only print a hint."""
    code = "import sys, venv; print(sys.version_info.minor)"
    answer = command.run(Command(argv=[path, "-E", "-s", "-c", code]), check=False)
    return answer.returncode == 0 and answer.stdout.strip() == str(minor)


def _ordinary_hinders() -> str:
    from xwhep_packaging.verify import ordinary

    return ordinary.hinders()


def _python_hinders() -> str:
    from xwhep_packaging.verify import locked_python

    locked = locked_python.minor_of_locks() not in (0, sys.version_info.minor)
    return "" if locked or other_python() else "no other minor version of Python 3 is on PATH, or locked"


# In its own mount namespace, so that nothing of it stays; disorderfs dies with the shell. The first bind keeps a way to
# the folder beside the view that hides it, the second is for a mount point that is not empty, which FUSE refuses.
DISORDER = (
    "mkdir {raw} {view}; mount --bind {folder} {raw}; "
    "setpriv --pdeathsig KILL disorderfs -f -q --sort-dirents=yes --reverse-dirents=yes {raw} {view} & server=$!; "
    "until mountpoint -q {view}; do kill -0 $server || exit 125; sleep 0.05; done; "
    'mount --bind {view} {folder}; cd {folder}; "$@"; status=$?; cd /; umount --lazy {folder} {view}; exit $status'
)


def disordered(folder: Path) -> tuple[str, ...]:
    """Words that show `folder` to a command with the entries of each directory in reverse."""
    places = {"folder": f"{folder}", "raw": f"{folder}.raw", "view": f"{folder}.view"}
    script = DISORDER.format(**{name: shlex.quote(path) for name, path in places.items()})
    return ("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script, "sh")


VARIATIONS = {
    variation.name: variation
    for variation in (
        Variation(
            name="date",
            doc=f"{CLOCK_DAYS} days later, for the pipeline and for builds in the chroot",
            wrap=("faketime", "-f", f"+{CLOCK_DAYS}d"),
            environment={"NO_FAKE_STAT": "1"},
            surroundings={"clock_days": CLOCK_DAYS},
            hinders=_clock_hinders,
        ),
        Variation(
            name="timezone",
            doc="14 hours east of Greenwich",
            environment={"TZ": "Etc/GMT-14"},
            surroundings={"timezone": "Etc/GMT-14"},
        ),
        Variation(
            name="locale",
            doc="another language outside, bytes instead of UTF-8 inside",
            environment={"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
            surroundings={"locale": "C"},
        ),
        Variation(
            name="umask",
            doc="group and others may read nothing outside, group may write inside",
            wrap=_shell("umask 0077"),
            surroundings={"umask": "0002"},
        ),
        Variation(name="path", doc="a clone in a folder with another, longer name"),
        Variation(
            name="user",
            doc="another user name and home",
            environment={"USER": "somebody-else", "LOGNAME": "somebody-else"},
            surroundings={"user": "other"},
        ),
        Variation(
            name="host",
            doc="another host name",
            wrap=("unshare", "--uts", "--", *_shell("hostname elsewhere")),
            surroundings={"host": "elsewhere"},
            hinders=_host_hinders,
        ),
        Variation(
            name="cpus",
            doc="one processor, one job at a time",
            wrap=_shell(
                'taskset --pid --cpu-list "$(taskset --pid --cpu-list $$ | sed "s/.*: *//; s/[-,].*//")" $$ >/dev/null'
            ),
            surroundings={"parallel": 1},
            hinders=_cpus_hinders,
        ),
        Variation(name="order", doc="directories list their entries in reverse (disorderfs)", hinders=_order_hinders),
        Variation(
            name="kernel",
            doc="another kernel release, memory without random addresses",
            wrap=("setarch", "--uname-2.6", "--addr-no-randomize"),
            hinders=_needs_tool("setarch"),
        ),
        Variation(name="environment", doc="variables that change what compilers and archivers do", environment=NOISY),
        Variation(
            name="cache",
            doc="cold: both root file systems are made again from the locked packages",
            apart={"kernel": "the C library's package refuses to be installed under such an old release"},
        ),
        Variation(
            name="engine",
            doc="images baked in containers of runc instead of a chroot",
            surroundings={"isolation": "oci"},
            hinders=_engine_hinders,
        ),
        Variation(name="python", doc="another minor version of Python runs the pipeline", hinders=_python_hinders),
        Variation(
            name="unprivileged",
            doc="an ordinary user builds, without any of root's rights",
            hinders=_ordinary_hinders,
            apart={
                "order": "disorderfs shows its files to root alone",
                "cache": "the cache of packages is root's",
                "engine": "isolation oci is tried as root only",
                "python": "another Python may lie where root alone may read",
            },
        ),
    )
}
BOUNDED = tuple(
    name for name in VARIATIONS if name not in ("cache", "python", "unprivileged")
)  # no root made, nothing fetched


def possible(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Those that this machine can do, and why not for each of the others."""
    reasons = {name: VARIATIONS[name].hinders() for name in names}
    return [name for name in names if not reasons[name]], {name: why for name, why in reasons.items() if why}


def surroundings_of(names: Sequence[str]) -> Surroundings:
    """The [surroundings] of a rebuild with these variations; its images get names of their own."""
    chosen: dict[str, str | int] = {"image_prefix": f"{IMAGES}-{os.getpid()}-{os.urandom(4).hex()}-"}
    for name in names:
        chosen |= VARIATIONS[name].surroundings
    return Surroundings(**chosen)  # type: ignore[arg-type]


def known_of(names: Sequence[str]) -> Known:
    """What each side of a comparison could see that the other could not."""
    from xwhep_packaging.verify.causes import Known

    usual, other = Surroundings(), surroundings_of(names)
    pairs = (("host name", "host"), ("time zone", "timezone"), ("locale", "locale"), ("user name", "user"))
    values = [(cause, getattr(usual, key), getattr(other, key)) for cause, key in pairs]
    values.append(("thread count", str(usual.parallel), str(other.parallel)))
    return Known(on=frozenset(names), values=tuple(row for row in values if row[1] != row[2]))


def rendered(surroundings: Surroundings) -> str:
    """As a table of a pipeline file."""
    rows = {name: getattr(surroundings, name) for name in surroundings.__struct_fields__}
    lines = [f"{name} = {value}" if isinstance(value, int) else f'{name} = "{value}"' for name, value in rows.items()]
    return "\n".join(["[surroundings]", *lines, ""])


def has_table(text: str) -> bool:
    """Whether a pipeline file has such a table already."""
    return bool(re.search(r"^\[surroundings\]", text, re.M))
