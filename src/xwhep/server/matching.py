"""Whether a machine can run an app. The one place where requirements are compared with what a worker announces."""

from __future__ import annotations

from xwhep.common.wire import App, Binary, Machine

ANY = "any"


def binary_for(app: App, machine: Machine) -> Binary | None:
    """The most specific binary of `app` that runs on `machine`: its own os and arch before "any"."""
    for os, arch in ((machine.os, machine.arch), (machine.os, ANY), (ANY, machine.arch), (ANY, ANY)):
        for binary in app.binaries:
            if (binary.os, binary.arch) == (os, arch):
                return binary
    return None


def misfit(app: App, machine: Machine) -> str:
    """Why `machine` cannot run `app`, in words for its owner; empty when it can."""
    if app.shared:
        return "" if app.shared in machine.shared else f"the shared asset {app.shared} is not installed"
    if binary_for(app, machine) is None:
        return f"there is no binary for {machine.os}/{machine.arch}"
    return ""
