"""A flag that threads can wait for beside a process or a socket, and that a signal handler may set."""

from __future__ import annotations

import os
import select


class Flag:
    """Set once, never cleared.

    `threading.Event` takes a lock, so a signal handler that sets it can hang the thread it interrupted; an eventfd
    has no lock, costs nothing while waiting, and can be polled together with a pidfd.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def __del__(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd

    def set(self) -> None:
        os.eventfd_write(self._fd, 1)

    def is_set(self) -> bool:
        return self.wait(0)

    def wait(self, seconds: float | None = None) -> bool:
        """True as soon as the flag is set, False after `seconds`; None waits for ever."""
        return bool(wait_any([self._fd], seconds))


def wait_any(descriptors: list[int], seconds: float | None = None) -> list[int]:
    """The file descriptors that became readable first; none when `seconds` passed."""
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    timeout_ms = None if seconds is None else max(0, round(seconds * 1000))
    return [descriptor for descriptor, _ in poller.poll(timeout_ms)]
