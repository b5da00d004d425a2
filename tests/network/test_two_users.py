"""Two users of one machine, by `xw`: what is one's the other neither sees nor stops. test_rights.py guesses harder."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

NOT_FOUND = 7  # xw's exit code
PASSWORD = "a long and winding password"


@pytest.fixture(scope="module")
def dora(client: Any, server: Any) -> dict[str, str]:
    """A second user, logged in by password; what her `xw` has in its environment."""
    environment = {"XWHEP_CLIENT_STATE": "state-of-dora"}
    client.write("password-of-dora", PASSWORD + "\n")
    client.call("xw", "admin", "user", "add", "dora", "--password-file", "password-of-dora")
    line = shlex.split(server.call("xwhep-server", "join-line", "client").text)[1]
    _, address, fingerprint, _ = line.split()
    words = shlex.join(["xw", "login", address, "--fingerprint", fingerprint, "--user", "dora"])
    assert "dora (user)" in client.shell(f"{words} < password-of-dora >&2; xw whoami", **environment).text
    return environment


def state_of(user: dict[str, str]) -> str:
    """That user's environment, as it stands before a command."""
    return " ".join(f"{name}={value}" for name, value in user.items())


def codes(client: Any, commands: list[str], user: dict[str, str]) -> dict[str, int]:
    """The exit code of each `xw COMMAND`, in one shell: starting a process in a container costs more than `xw`."""
    script = "".join(f"xw {words} >/dev/null 2>&1 && echo 0 || echo $?\n" for words in commands)
    return dict(zip(commands, map(int, client.shell(script, **user).text.split()), strict=True))


def test_neither_reads_nor_stops_what_is_the_others(client: Any, worker: Any, dora: dict[str, str]) -> None:
    client.write("hello.sh", '#!/bin/sh\necho "hello $1"\n')
    script = "echo dear diary > diary.txt; xw app register hello hello.sh >&2; xw data put diary.txt >&2; "
    job = client.shell(script + "xw job submit hello -- me | tee job; xw job wait $(cat job) >&2").text.strip()
    refused = ["data get diary.txt", *(f"job {verb} {job}" for verb in ("show", "results", "cancel", "rm"))]
    refused.append("job submit hello --data diary.txt")
    assert codes(client, refused, dora) == dict.fromkeys(refused, NOT_FOUND)
    listed = client.shell("for kind in job data; do xw $kind list --format json; done", **dora).text
    assert "".join(listed.split()) == "[][]"
    script = (
        "for mode in 704 700; do xw chmod $mode job $JOB >&2; "
        f"{state_of(dora)} xw job show $JOB >/dev/null 2>&1 && echo $mode 0 || echo $mode $?; done; "
        f"{state_of(dora)} xw job submit hello --wait -- dora; xw job show $JOB"
    )
    open_to_all, closed, said, *shown = client.shell(script, JOB=job).text.splitlines()
    assert (open_to_all, closed) == ("704 0", f"700 {NOT_FOUND}")
    assert said == "hello dora"
    assert "completed" in "\n".join(shown)
