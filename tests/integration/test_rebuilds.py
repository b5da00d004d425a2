"""A commit built again from an empty store gives the same digests: without any network, and by an ordinary user."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clones import REPOSITORY, Clone

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces without a network, and other users, need root"),
]
LIMIT_S = 3600
LEFT_S = 60
STAGES = ("source", "base", "debs", "images")
USER = "xwhep-test"
TAG = "11.9.0"
# The device by which a rootless network reaches others: every user's on Debian, root's alone where udev does not run.
OPEN_TUNNEL = (
    *("unshare", "--mount", "--", "sh", "-c"),
    'mount -t tmpfs net /dev/net && mknod /dev/net/tun c 10 200 && chmod 666 /dev/net/tun && exec "$@"',
    "sh",
)


def digests(store: Path) -> set[tuple[str, str]]:
    """(STAGE:NAME FILE, sha256) of what ships and of the root file systems, and each image's layers and digest."""
    found = set()
    for path in sorted(store.glob("*/*/manifest.json")):
        made = json.loads(path.read_text())
        if made["stage"] in STAGES and not made["name"].startswith("chroot-"):
            name = f"{made['stage']}:{made['name']}"
            found |= {(f"{name} {file}", record["sha256"]) for file, record in made["files"].items()}
            if made["stage"] == "images":
                found.add((f"{name} image", f"{made['facts']['digest']} of {made['facts']['layers']}"))
    return found


def same(again: set[tuple[str, str]], first: set[tuple[str, str]]) -> None:
    """The first build's store may hold more: what it made of commits before."""
    assert again - first == set()
    names = [name for name, _ in again]
    assert len([name for name in names if name.endswith(" image")]) == 3
    assert len([name for name in names if name.endswith(".deb")]) == 5
    assert {"base:chroot root.tar", "base:rootfs root.tar"} <= {*names}


@pytest.fixture
def latest(built: Clone) -> set[tuple[str, str]]:
    """Of the commit as it stands."""
    return fresh(built)


def fresh(built: Clone) -> set[tuple[str, str]]:
    """Built with what older commits left taken away."""
    for stage in ("source", "debs", "images"):
        shutil.rmtree(built.store / stage, ignore_errors=True)
    built.doit("images")
    return digests(built.store)


def clone_of(built: Clone, folder: Path) -> Clone:
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(built.folder), str(folder)], check=True)
    return Clone(folder=folder)


@pytest.fixture
def tagged(built: Clone) -> Iterator[set[tuple[str, str]]]:
    """The clone has a tag, and a commit after it; what was built of the tag is given."""
    before = built.git("rev-parse", "HEAD")
    built.change("src/xwhep/client/main.py", "# what is tagged\n")
    built.git("tag", TAG)
    try:
        yield fresh(built)
    finally:
        built.git("tag", "--delete", TAG)
        built.git("reset", "--quiet", "--hard", before)


def test_the_last_tag_without_any_network(built: Clone, tagged: set[tuple[str, str]], tmp_path: Path) -> None:
    """From the locked packages in the cache, down to the root file systems; nothing has drifted. The network is down
    for all of it, scripts/doit too."""
    built.change("src/xwhep/client/main.py", "# after the tag\n")
    again = clone_of(built, tmp_path / "clone")
    again.git("checkout", "--quiet", again.git("describe", "--tags", "--abbrev=0"))
    (again.folder / ".venv").symlink_to(REPOSITORY / ".venv")
    argv = ["unshare", "--net", str(again.folder / "scripts" / "doit"), "images"]
    environment = again.environment(XWHEP_LOCKED="1", XWHEP_ENGINE="podman")
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    same(digests(again.store), tagged)  # the images are the first build's, and stay under its names
    assert any(name.endswith(f"xwhep-server_{TAG}_all.deb") for name, _ in digests(again.store))


@pytest.fixture
def user() -> Iterator[pwd.struct_passwd]:
    """An ordinary user with numbers of his own in /etc/subuid, as adduser gives them; gone afterwards."""
    subprocess.run(["useradd", "--create-home", USER], check=True)
    found = pwd.getpwnam(USER)
    try:
        assert f"{USER}:" in Path("/etc/subuid").read_text(), "useradd gives them where /etc/login.defs says so"
        yield found
    finally:
        deadline = time.monotonic() + LEFT_S
        # Of an interrupted run; and rootless podman keeps a process, and one for each exec for 5 minutes.
        while (left := processes_of(found.pw_uid)) and time.monotonic() < deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.2)
        subprocess.run(["userdel", "--remove", USER], check=True, capture_output=True)


def processes_of(uid: int) -> list[str]:
    argv = ["ps", "-o", "pid=", "--user", str(uid)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()


def test_by_an_ordinary_user(built: Clone, latest: set[tuple[str, str]], user: pwd.struct_passwd) -> None:
    """A whole build at full strength: user namespaces stand in for root, rootless podman runs the network test."""
    again = clone_of(built, Path(user.pw_dir) / "clone")
    run = Path(user.pw_dir) / "run"
    run.mkdir(mode=0o700)
    subprocess.run(["chown", "--recursive", f"{USER}:", user.pw_dir], check=True)
    who = ("setpriv", f"--reuid={USER}", f"--regid={user.pw_gid}", "--init-groups", "--")
    argv = [*OPEN_TUNNEL, *who, str(again.folder / "scripts" / "doit"), "build"]
    # The system's Python, which the user can read.
    own = {"HOME": user.pw_dir, "USER": USER, "PATH": "/usr/bin:/bin", "XWHEP_ENGINE": "podman", "XWHEP_LOCKED": "1"}
    own["XDG_RUNTIME_DIR"] = str(run)  # as logind gives one
    kept = {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_CONFIG_FILE") if name in os.environ}
    done = subprocess.run(
        argv, cwd=again.folder, env={**kept, **own}, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    same(digests(again.store), latest)
    report = again.latest()
    assert (report["verdict"], report["engine"], report["weaker"]) == ("passed", "podman", [])
