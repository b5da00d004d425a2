"""The entry point of `xw`: picks the command, and turns every failure into one message and its own exit code."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from xwhep.client.text import clean
from xwhep.common.errors import DiskFull, UsageError, XwhepError

INTERRUPTED = 130  # as shells say it: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE
UNEXPECTED = 1


def command() -> NoReturn:
    """`main` as a process. To take the interpreter down in order would be a fifth of a short command's work."""
    gc.disable()  # until all is loaded, which stays anyway
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it has gone; main has said so where it matters
            stream.flush()
    os._exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `xw` with `argv` (default: the process's own arguments).

    Returns:
        0, the exit code of the error's class (xwhep.common.errors), 130 after Ctrl-C, 141 when the reader of our
        output went away, 1 for a bug.
    """
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()  # here, where a full disk or a closed pipe still has a message
    except XwhepError as error:
        return report(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return PIPE_CLOSED
    except OSError as error:
        _drop_output()
        return report(local_failure(error))
    except Exception as error:  # noqa: BLE001 - the one place where a bug becomes a message
        return _report_bug(error)
    return code


def _run(argv: Sequence[str]) -> int:
    from xwhep.client.catalogue import group_of, overview  # noqa: PLC0415 - see the start-up budget

    if not argv or argv[0] in ("-h", "--help", "help"):
        return _help(overview(), asked=bool(argv))
    if argv[0] in ("-V", "--version"):
        argv = ["version", "--client"]
    if group := group_of(argv):
        rest = argv[len(group.split()) :]
        if not rest or rest[0] in ("-h", "--help"):
            return _help(overview(group), asked=bool(rest))
    from xwhep.client.parser import parse  # noqa: PLC0415

    try:
        call = parse(argv)
    except SystemExit as done:  # argparse printed --help
        return int(done.code or 0)
    gc.enable()
    return call.run(call.args)


def _help(text: str, asked: bool) -> int:
    (sys.stdout if asked else sys.stderr).write(text + "\n")
    return 0 if asked else UsageError.exit_code


def _drop_output() -> None:
    """Forget what standard output cannot take. Python would flush it at exit, fail again and say so."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def local_failure(error: OSError) -> XwhepError:
    """A failure of this machine (network failures are translated where they happen) as one of ours."""
    import errno  # noqa: PLC0415

    where = f" {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no room left on this machine{where and ' for' + where}", "free some space and run it again")
    return UsageError(f"cannot use{where or ' a file'}: {error.strerror or error}", "check the path and its rights")


def report(error: XwhepError) -> int:
    sys.stderr.write(f"xw: error [{error.code}]: {clean(str(error))}\n")
    if error.next_step:
        sys.stderr.write(f"next: {clean(error.next_step)}\n")
    return error.exit_code


def _report_bug(error: Exception) -> int:
    if os.environ.get("XWHEP_DEBUG"):
        import traceback  # noqa: PLC0415

        traceback.print_exc()
    sys.stderr.write(f"xw: error [error]: this is a bug: {type(error).__name__}: {clean(str(error))}\n")
    sys.stderr.write("next: set XWHEP_DEBUG=1, run it again, and report what it prints\n")
    return UNEXPECTED


if __name__ == "__main__":
    command()
