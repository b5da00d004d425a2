"""Signed apps: the server takes only signatures that are right, and hands them to workers as they came."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PROGRAM = b"#!/bin/sh\necho signed\n"


@pytest.fixture(scope="module")
def shared_live(tmp_path_factory, live_server_class):
    server = live_server_class(tmp_path_factory.mktemp("signatures") / "state")
    server.start()
    server.ann = server.user("ann")
    server.ann.upload(PROGRAM)
    yield server
    server.kill()
    assert "Traceback" not in server.log()


@pytest.fixture
def ann(shared_live):
    return shared_live.ann


def signed(name: str, key: Ed25519PrivateKey, **other) -> dict:
    """A spec as the client makes it, with some of it replaced after the signing."""
    sha256 = hashlib.sha256(PROGRAM).hexdigest()
    message = b"xwhep-app-1\0" + b"\0".join([name.encode(), b"any", b"any", sha256.encode()])
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    binary = {
        "os": "any",
        "arch": "any",
        "sha256": sha256,
        "size": len(PROGRAM),
        "signature": base64.b64encode(key.sign(message)).decode(),
        "signer": base64.b64encode(public).decode(),
    }
    return {"name": name, "binaries": [{**binary, **other}]}


def test_a_signature_reaches_users_and_workers_unchanged(shared_live, ann):
    spec = signed("good", Ed25519PrivateKey.generate())
    assert ann.post("/v1/apps", spec).status == 200
    wanted = spec["binaries"][0]
    assert ann.get("/v1/apps/good").body["binaries"] == [wanted]
    ann.submit("good")
    assert shared_live.worker().ask().body["binary"] == wanted


def test_the_signature_is_over_the_agreed_bytes(ann):
    """Spelt out, because client and worker compute the same: change here means change there."""
    spec = signed("agreed", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    assert spec["binaries"][0]["signer"] == "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    assert ann.post("/v1/apps", spec).status == 200


OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.mark.parametrize(
    "wrong",
    [
        {"signature": ""},
        {"signer": ""},
        {"signature": "%%%"},
        {"signature": base64.b64encode(b"short").decode()},
        {"signer": base64.b64encode(b"short").decode()},
        {"signature": base64.b64encode(bytes(64)).decode()},
        {"signer": base64.b64encode(OTHER).decode()},
        {"signer": base64.b64encode(bytes(32)).decode()},
        {"signer": base64.b64encode(b"\xff" * 32).decode()},
        {"arch": "x86_64"},
        {"os": "linux"},
        {"signature": "\ud800"},
    ],
    ids=ascii,
)
def test_what_does_not_fit_is_refused(ann, wrong):
    reply = ann.post("/v1/apps", signed("bad", Ed25519PrivateKey.generate(), **wrong))
    assert (reply.status, reply.code) == (422, "invalid_request")
    assert ann.get("/v1/apps/bad").status == 404


def test_a_signature_for_another_name_does_not_fit(ann):
    spec = signed("one", Ed25519PrivateKey.generate())
    assert ann.post("/v1/apps", {**spec, "name": "two"}).status == 422
