"""What the tests share: a grid as an administrator starts it by hand, and a fleet in which things go wrong.

The pipeline tells by environment what to test: DOCKER_HOST, XWHEP_TEST_IMAGES (JSON: role -> digest),
XWHEP_TEST_OUTPUT (a folder for logs and timings) and XWHEP_TEST_ENGINE. Everything made here carries a label, and is
removed at the end, also after Ctrl-C or SIGTERM; what a killed run left is removed by the next one.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import docker
import pytest
from containers import SHELL, Answer, Box, Lab, Wanted, is_dead, remove_leftovers, together
from grid import Grid, Line

# The main job first; what kills servers comes last. What needs the fleet runs in a process of its own meanwhile.
ORDER = (
    "test_main_job",
    "test_two_users",
    "test_shared_apps",
    "test_matching",
    "test_rights",
    "test_quorum",
    "test_faults",
)
LAST_USER = "test_shared_apps"  # of the containers of the main job
LEASE_S = 2.0
WORKERS = {"anna": "gpu,site=lab7", "ben": ""}  # name -> labels
SERVER_HOST = 100  # of the fleet's network: a restarted server has the address that it had


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends the tests as Ctrl-C does, so that fixtures clean up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    config.addinivalue_line("markers", "last: stops the containers of the main job")
    config.addinivalue_line("markers", "endurance: takes longer, runs apart from every build")
    config.addinivalue_line("markers", "needs(power): what a container must have: network, mounts or proc of its own")
    config.addinivalue_line("markers", "fleet: needs the fleet alone, so a second process can run it meanwhile")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "fleet" in getattr(item, "fixturenames", ()):
            item.add_marker("fleet")

    def place(item: pytest.Item) -> tuple[int, bool]:
        is_last = item.get_closest_marker("last") is not None
        name = LAST_USER if is_last else item.path.stem
        return ORDER.index(name) if name in ORDER else len(ORDER), is_last

    items.sort(key=place)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    client = docker.from_env(timeout=120)
    run = f"{os.getpid()}-{secrets.token_hex(4)}"
    output = Path(os.environ["XWHEP_TEST_OUTPUT"])
    remove_leftovers(client, is_dead)
    lab = Lab(client=client, images=json.loads(os.environ["XWHEP_TEST_IMAGES"]), output=output, run=run)
    try:
        yield lab
    finally:
        (output / "timings.json").write_text(json.dumps(lab.timings, indent=1, sort_keys=True))
        lab.close()
        client.close()


# A grid as an administrator starts it by hand.


@pytest.fixture(scope="session")
def server(lab: Lab) -> Box:
    network = lab.network("xwhep-test")
    with lab.timed("server_container_ready_s"):
        box = lab.start(Wanted(role="server", name="server", network=network.name))
        box.wait_for_log("ready")
    return box


@pytest.fixture(scope="session")
def network_id(server: Box) -> str:
    """The id of the server's network, as `docker inspect` gives it."""
    server.raw.reload()
    networks = server.raw.attrs["NetworkSettings"]["Networks"]
    assert len(networks) == 1
    return str(next(iter(networks.values()))["NetworkID"])


@pytest.fixture(scope="session")
def partners(lab: Lab, server: Box, network_id: str) -> list[Box]:
    """Beside the server: a worker, and a shell as `docker run -ti --network=ID xwclientimg_... /bin/bash` gives it."""
    line = joined(server.call("xwhep-server", "join-line", "worker"))
    worker = Wanted(role="worker", name="worker", network=network_id, environment={"XWHEP_JOIN": line})
    shell = Wanted(role="client", name="client", network=network_id, options=SHELL)
    return together(lambda: lab.start(worker), lambda: lab.start(shell))


@pytest.fixture(scope="session")
def worker(partners: list[Box]) -> Box:
    return partners[0]


@pytest.fixture(scope="session")
def client(partners: list[Box], server: Box) -> Box:
    """The shell, logged in."""
    line = joined(server.call("xwhep-server", "join-line", "client"))
    partners[1].shell('printf "%s\\n" "$LINE" | xw login', LINE=line)
    return partners[1]


def joined(answer: Answer) -> str:
    """The join line inside the shell command that the server prints: echo 'LINE' | program."""
    return shlex.split(answer.text)[1]


# A fleet in which things go wrong: a server with short leases, two workers, a desk from which it is asked.


@pytest.fixture(scope="session")
def fleet(lab: Lab) -> Iterator[Grid]:
    network = lab.network_of_chosen_addresses("xwhep-test-fleet")
    settings = {"XWHEP_SERVER_LEASE_SECONDS": str(LEASE_S), "XWHEP_SERVER_BACK_OFF_SECONDS": "0.5"}
    wanted = Wanted(
        role="server", name="fleet-server", network=network.name, address=_address(network), environment=settings
    )
    desk = Wanted(role="client", name="desk", network=network.name, options=SHELL)
    with lab.timed("fleet_ready_s"):
        boxes = together(lambda: lab.start(wanted), lambda: lab.start(desk))
        boxes[0].wait_for_log("ready")
        line = Line(boxes[1])
        grid = Grid.beside(boxes[0], line, lab, network)
        grid.add_workers(WORKERS, joined(boxes[0].call("xwhep-server", "join-line", "worker")))
    try:
        yield grid
    finally:
        line.close()


def _address(network: Any) -> str:
    network.reload()
    return str(ipaddress.ip_network(network.attrs["IPAM"]["Config"][0]["Subnet"])[SERVER_HOST])
