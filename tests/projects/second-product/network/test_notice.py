"""The two images on one network: what one pins up the other reads."""

import json
import os
import time
import uuid

import docker
import pytest

IMAGES = json.loads(os.environ["XWHEP_TEST_IMAGES"])
READY_S = 30.0


@pytest.fixture
def client():
    return docker.from_env()


@pytest.fixture
def network(client):
    network = client.networks.create(f"notice-{uuid.uuid4().hex[:8]}")
    yield network
    network.remove()


@pytest.fixture
def board(client, network):
    container = client.containers.run(
        IMAGES["board"], detach=True, name=f"board-{network.name}", network=network.name, read_only=True,
        tmpfs={"/tmp": ""}, cap_drop=["ALL"],
    )
    yield container
    container.remove(force=True, v=True)


def test_the_notice_is_read(client, network, board):
    deadline = time.monotonic() + READY_S
    while True:
        try:
            said = client.containers.run(IMAGES["ask"], [f"http://{board.name}:8080/"], network=network.name, remove=True)
            break
        except docker.errors.ContainerError as error:
            assert time.monotonic() < deadline, error
            time.sleep(0.3)
    assert said.decode().strip() == "dinner at eight"


def test_the_images_are_what_the_pipeline_file_describes(client):
    board = client.images.get(IMAGES["board"]).attrs["Config"]
    assert board["User"] == "940:940"
    assert "8080/tcp" in board["ExposedPorts"]
    assert "/var/lib/notice-board" in board["Volumes"]
    assert client.containers.run(IMAGES["ask"], entrypoint=["/bin/nc", "-h"], remove=True, stderr=True)
