"""enter.py ROOT UID GID MARK FOLDER COMMAND...: become a container's process. A script of its own.

MARK is a group that all processes of the container have and cannot drop: by it they are found. When the engine dies,
the kernel kills them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
CANNOT_RUN, NOT_FOUND = 126, 127  # as shells say it


def main(words: list[str]) -> None:
    root, uid, gid, mark, folder, *argv = words
    libc = ctypes.CDLL(None)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)
    os.chroot(root)
    os.chdir(folder)
    os.setgroups([int(mark)])
    os.setgid(int(gid))
    os.setuid(int(uid))  # forgets the signal at the engine's death, so that comes after it
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Nothing more can be imported here: the files of this Python are outside.
    paths = [argv[0]] if "/" in argv[0] else [f"{folder}/{argv[0]}" for folder in os.environ["PATH"].split(":")]
    for path in paths:
        try:
            os.execve(path, argv, os.environ)  # noqa: S606 - never by a shell
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            sys.stderr.write(f"{path}: {exc.strerror}\n")
            sys.exit(CANNOT_RUN)
    sys.stderr.write(f"{argv[0]}: executable file not found\n")
    sys.exit(NOT_FOUND)


if __name__ == "__main__":
    main(sys.argv[1:])
