"""Two users of one machine, by `xw`: what is one's the other neither sees nor stops. test_rights.py guesses harder."""

from __future__ import annotations

import json
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
    client.shell(f"{words} < password-of-dora", **environment)
    assert "dora (user)" in client.call("xw", "whoami", environment=environment).text
    return environment


def test_neither_reads_nor_stops_what_is_the_others(client: Any, worker: Any, dora: dict[str, str]) -> None:
    client.write("hello.sh", '#!/bin/sh\necho "hello $1"\n')
    client.write("diary.txt", "dear diary\n")
    client.call("xw", "app", "register", "hello", "hello.sh")
    client.call("xw", "data", "put", "diary.txt")
    job = client.call("xw", "job", "submit", "hello", "--", "me").text.strip()
    client.call("xw", "job", "wait", job)
    refused = ["data get diary.txt", *(f"job {verb} {job}" for verb in ("show", "results", "cancel", "rm"))]
    refused.append("job submit hello --data diary.txt")
    script = "".join(f"xw {words} >/dev/null 2>&1 && echo 0 || echo $?\n" for words in refused)
    codes = client.shell(script, **dora).text.split()
    assert dict(zip(refused, codes, strict=True)) == dict.fromkeys(refused, str(NOT_FOUND))
    for kind in ("job", "data"):
        assert json.loads(client.call("xw", kind, "list", "--format", "json", environment=dora).text) == []
    for mode, status in (("704", 0), ("700", NOT_FOUND)):
        client.call("xw", "chmod", mode, "job", job)
        assert client.call("xw", "job", "show", job, environment=dora, check=False).exit_code == status, mode
    assert client.call("xw", "job", "submit", "hello", "--wait", "--", "dora", environment=dora).text == "hello dora\n"
    assert "completed" in client.call("xw", "job", "show", job).text
