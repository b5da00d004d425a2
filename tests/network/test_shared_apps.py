"""The apps that the worker image brings along: announced, listed with their workers, and run by jobs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

SEEN_LIMIT_S = 20.0
APPS = {
    "pi-montecarlo": (["--points", "20000", "--seed", "7", "--output", "result.json"], "result.json"),
    "nbody": (["--steps", "50", "--seed", "7", "--output", "result.json"], "result.json"),
}
each_app = pytest.mark.parametrize("app", APPS)


def listed(client: Any, app: str) -> dict[str, Any]:
    apps = json.loads(client.call("xw", "app", "list", "--format", "json").text)
    found: dict[str, Any] = next(row for row in apps if row["name"] == app)
    return found


@each_app
def test_worker_announces_it_and_the_list_shows_which_have_it(client: Any, worker: Any, app: str) -> None:
    client.call("xw", "app", "register", app, "--shared", app)
    deadline = time.monotonic() + SEEN_LIMIT_S
    while not listed(client, app).get("workers"):
        assert time.monotonic() < deadline, worker.logs()
    names = [row["name"] for row in json.loads(client.call("xw", "worker", "list", "--format", "json").text)]
    assert listed(client, app)["workers"] == names
    assert names[0] in client.call("xw", "app", "list").text


@each_app
def test_a_job_on_it_gives_the_same_result_as_the_command_itself(client: Any, worker: Any, app: str) -> None:
    words, name = APPS[app]
    client.call("xw", "job", "submit", app, "--wait", "--output", f"shared-{app}", "--", *words)
    got = client.read(f"cat shared-{app}/{name}")
    worker.shell(f"cd /tmp && {app} {' '.join(words)}")
    assert got == worker.read(f"cat /tmp/{name}")
