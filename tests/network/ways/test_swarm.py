"""A grid over three machines: docs/howto/swarm.md as it is written, then one machine dies."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swarm import Node, three_nodes

JOBS = 12
LIMIT_S = 120.0
SETTINGS = """[deploy]
name = "lab"
workers = 4
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
    volume = "--volume=lab-client:/home/xwuser"
    return node.docker("run", "--rm", "-i", "--network=lab_grid", volume, image, "sh", "-euc", script, text=text)


def test_a_node_dies_and_every_job_ends(built: Any, nodes: list[Node]) -> None:
    manager, second, third = nodes
    folder = stack_files(built)
    files = [f"--compose-file={folder / name}.yaml" for name in ("server", "workers")]
    node_id = manager.docker("info", "--format", "{{.Swarm.NodeID}}")
    manager.docker("node", "update", "--label-add", "xwhep.server=true", node_id)
    manager.docker("stack", "deploy", files[0], "--resolve-image", "never", "lab")
    (server,) = eventually(lambda: healthy(manager, "lab_server"))
    line = manager.docker("exec", server, "xwhep-server", "join-line", "worker")
    manager.docker("secret", "create", "lab_worker_join", "-", text=line)
    manager.docker("stack", "deploy", *files, "--resolve-image", "never", "lab")
    eventually(lambda: sum(len(healthy(node, "lab_worker")) for node in nodes) == 4)
    assert all(len(healthy(node, "lab_worker")) <= 2 for node in nodes)

    image = next(row["tags"][0] for row in built.latest()["images"] if row["name"] == "client")
    line = manager.docker("exec", server, "xwhep-server", "join-line", "client")
    jobs = client(manager, image, SUBMIT, text=line).split()
    assert len(jobs) == JOBS
    victim = next(node for node in (second, third) if healthy(node, "lab_worker"))
    eventually(lambda: any("sleep 8" in victim.docker("top", each) for each in healthy(victim, "lab_worker")))
    victim.unplug()
    results = client(manager, image, f"cat >jobs; {RESULTS}", text="\n".join(jobs))
    assert sorted(results.splitlines()) == sorted(f"job {number}" for number in range(1, JOBS + 1))
    live = [node for node in nodes if node is not victim]
    eventually(lambda: sum(len(healthy(node, "lab_worker")) for node in live) == 4)
    victim.plug()
