"""Another Python for the pipeline where PATH has none: the suite's own, from the locked packages of the chroot.

locked .debs ──> unpacked below a folder ──> program, libraries, dynamic linker ──> a script in the program's place

Nothing is downloaded, and nothing of the machine's C library is used.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from xwhep_packaging import command
from xwhep_packaging.command import Command
from xwhep_packaging.errors import VerifyError
from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.stages import base, packages
from xwhep_packaging.store import remove_tree
from xwhep_packaging.temporary import temporary_folder

LOCKS = Path(__file__).parents[2] / "lock"
SET = "chroot"
STANDARD_LIBRARY = re.compile(r"\blibpython3\.(\d+)-stdlib\b")
LIBRARIES = (
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "liblzma5",
    "libsqlite3-0",
    "libssl3t64",
    "libuuid1",
    "libzstd1",
    "zlib1g",
)
LINKERS = "usr/lib/*/ld-linux*.so.*"
MODULES = "ctypes, lzma, sqlite3, ssl, venv, zlib"
# Python takes its home from the name that it is called by: a venv's link to this script finds the venv.
PROGRAM = """#!/bin/sh
exec {linker} --argv0 "$0" --library-path {libraries} {program} "$@"
"""


def minor_of_locks() -> int:
    """N of the 3.N that this repository's locks have; 0: none."""
    return max((_minor(file.read_text(encoding="utf-8")) for file in LOCKS.glob("*.toml")), default=0)


def _minor(text: str) -> int:
    found = STANDARD_LIBRARY.search(text)
    return int(found[1]) if found else 0


def unpacked(pipeline: Pipeline, log: Path) -> Path:
    """The program, in a folder of the store that is made anew each time: it takes a second.

    Raises:
        LockError: a cached package is missing or was changed.
        VerifyError: the chroot has no Python, or it does not run here.
    """
    output = pipeline.supply.output(SET)
    packages.refill(pipeline.settings, output, log)
    made = base.Made.of(pipeline.settings, output)
    debs = {deb.name: deb for deb in made.debs.debs}
    minor = _minor("\n".join(debs))
    folder = pipeline.store.scratch("verify") / "python"
    remove_tree(folder)
    with temporary_folder("python") as copies:
        made.cache.copy([debs[name] for name in wanted(debs, minor)], copies)
        for deb in sorted(copies.iterdir()):
            argv = ["dpkg-deb", "--extract", str(deb), str(folder)]
            command.run(Command(argv=argv, error=VerifyError, log=log))
    return ready(folder, minor, log)


def wanted(names: Iterable[str], minor: int) -> list[str]:
    """The packages of Python 3.MINOR, and the libraries that its modules use."""
    own = re.compile(rf"(lib)?python3\.{minor}(-minimal|-stdlib)?")
    return sorted(name for name in names if own.fullmatch(name) or name in LIBRARIES)


def ready(folder: Path, minor: int, log: Path) -> Path:
    """Put the script in the place of the program, and try it.

    Raises:
        VerifyError: there is no program, or it does not run here.
    """
    program = folder / "usr" / "bin" / f"python3.{minor}"
    linker = next(folder.glob(LINKERS), None)
    if linker is None or not program.is_file():
        raise VerifyError(f"the locked packages of the {SET} hold no Python", next_step="install another python3.N")
    real = program.with_name(f"{program.name}.real")
    program.rename(real)
    places = {"linker": linker, "libraries": linker.parent, "program": real}
    text = PROGRAM.format(**{name: shlex.quote(str(path)) for name, path in places.items()})
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    what = "the Python of the locked packages does not run on this machine"
    argv = [str(program), "-E", "-s", "-c", f"import {MODULES}"]
    command.run(Command(argv=argv, error=VerifyError, log=log, what=what, next_step="install another python3.N"))
    return program
