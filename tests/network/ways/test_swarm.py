"""A grid over three machines: the commands of docs/howto/swarm.md as they stand there; meanwhile one machine dies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from howto import block
from swarm import Node, three_nodes

JOBS = 8
LIMIT_S = 120.0
SETTINGS = """[deploy]
workers = 2
workers_per_node = 2
worker_cpus = 0.2
worker_memory_mb = 256
"""
SUBMIT = f"""
xw login >/dev/null
printf '#!/bin/sh\\nsleep 8; echo "job $1"\\n' >job.sh
xw app register nap ./job.sh >/dev/null
for n in $(seq {JOBS}); do xw job submit nap -- "$n"; done
"""
RESULTS = """
for job in $(cat jobs); do
    xw job wait "$job" --timeout 120 >/dev/null
    xw job results "$job" -o "$job" >/dev/null
done
cat */stdout
"""


@pytest.fixture(scope="module")
def nodes(built: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """A swarm of three, each with the images that the build made."""
    archives = saved_images(built.latest()["images"], tmp_path_factory.mktemp("images"))
    with three_nodes(tmp_path_factory.mktemp("swarm")) as found:
        manager, *others = found
        manager.docker("swarm", "init", "--advertise-addr", manager.address)
        token = manager.docker("swarm", "join-token", "--quiet", "worker")
        for node in others:
            node.docker("swarm", "join", "--advertise-addr", node.address, "--token", token, f"{manager.address}:2377")
        for node in found:
            for archive in archives:
                node.docker("load", "--quiet", "--input", str(archive))
        yield found
        manager.plug()
        for node in reversed(found):
            node.docker("swarm", "leave", "--force", check=False)


def saved_images(images: list[dict[str, Any]], folder: Path) -> list[Path]:
    archives = []
    for image in images:
        archives.append(folder / f"{image['name']}.tar")
        argv = ["buildah", "push", "--quiet", image["digest"], f"docker-archive:{archives[-1]}:{image['tags'][0]}"]
        subprocess.run(argv, check=True, capture_output=True)
    return archives


def stack_files(clone: Any) -> Path:
    file = clone.folder / "packaging" / "pipeline.toml"
    original = file.read_text()
    file.write_text(original.partition("[deploy]")[0] + SETTINGS)
    try:
        clone.doit("deploy:swarm")
    finally:
        file.write_text(original)
    folder: Path = clone.store / "deploy" / "swarm"
    return folder


def eventually(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.3)
    return found


def healthy(node: Node, service: str) -> list[str]:
    filters = ("--filter", f"label=com.docker.swarm.service.name={service}", "--filter", "health=healthy")
    return node.docker("ps", "--quiet", *filters).split()


def client(node: Node, image: str, script: str, text: str = "") -> str:
    volume = "--volume=grid-client:/home/xwuser"
    return node.docker("run", "--rm", "-i", "--network=grid_grid", volume, image, "sh", "-euc", script, text=text)


def running(nodes: list[Node]) -> int:
    return sum(len(healthy(node, "grid_worker")) for node in nodes)


def raise_grid(manager: Node, folder: Path) -> str:
    """As the page says; gives the server's container."""
    node = manager.docker("info", "--format", "{{.Swarm.NodeID}}")
    manager.typed(block("swarm", "docker node update", {"NODE": node}), folder)
    (server,) = eventually(lambda: healthy(manager, "grid_server"))
    manager.typed(block("swarm", "server="), folder)
    manager.typed(block("swarm", "docker service scale"), folder)
    return str(server)


def test_a_node_dies_and_every_job_ends(built: Any, nodes: list[Node]) -> None:
    manager, second, third = nodes
    folder = stack_files(built)
    server = raise_grid(manager, folder)
    eventually(lambda: running(nodes) == 4)
    assert all(len(healthy(node, "grid_worker")) <= 2 for node in nodes)

    image = next(row["tags"][0] for row in built.latest()["images"] if row["name"] == "client")
    line = manager.docker("exec", server, "xwhep-server", "join-line", "client")
    jobs = client(manager, image, SUBMIT, text=line).split()
    assert len(jobs) == JOBS
    victim = next(node for node in (second, third) if healthy(node, "grid_worker"))
    eventually(lambda: any("sleep 8" in victim.docker("top", each) for each in healthy(victim, "grid_worker")))
    victim.unplug()
    results = client(manager, image, f"cat >jobs; {RESULTS}", text="\n".join(jobs))
    assert sorted(results.splitlines()) == sorted(f"job {number}" for number in range(1, JOBS + 1))
    live = [node for node in nodes if node is not victim]
    eventually(lambda: running(live) == 4)
    victim.plug()
    the_end(manager, folder)


def the_end(manager: Node, folder: Path) -> None:
    """As the page says: nothing of the grid is left but the server's data."""
    manager.typed(block("swarm", "docker stack rm"), folder)
    for kind in ("service", "secret", "config"):
        assert manager.docker(kind, "ls", "--quiet") == ""
    eventually(lambda: manager.docker("ps", "--quiet", "--filter", "name=grid_") == "")
    assert "grid_server" in manager.docker("volume", "ls", "--quiet").split()
