"""The scan fires for every secret, in every form, in every place; and stays silent elsewhere."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments import deployment
from xwhep_packaging import secret_scan
from xwhep_packaging.deployment.records import Deployment
from xwhep_packaging.errors import SecretFound
from xwhep_packaging.secret_scan import CHUNK_BYTES, Finding, Scan, Secret, secrets_of
from xwhep_packaging.store import Store


@pytest.fixture(scope="module")
def made() -> Deployment:
    return deployment()


@pytest.fixture(scope="module")
def secrets(made: Deployment) -> dict[str, Secret]:
    return {secret.name.partition(" of ")[0].split(" ")[-1]: secret for secret in secrets_of(made)}


@pytest.fixture(scope="module")
def scan(made: Deployment) -> Scan:
    return Scan(secrets_of(made))


def names(findings: object) -> list[str]:
    return [finding.secret for finding in findings]  # type: ignore[attr-defined]


def test_all_secrets_are_looked_for(made: Deployment) -> None:
    assert [secret.name for secret in secrets_of(made)] == [
        "the administrator's password",
        "the password's hash",
        f"join token {made.joins[0].id}",
        "the server's key",
        "the key of authority 1",
        "the digest key",
    ]
    assert not any(secret.content.hex() in repr(secret) for secret in secrets_of(made))


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda secret: secret,
    "hex": lambda secret: secret.hex().encode(),
    "upper-case hex": lambda secret: secret.hex().upper().encode(),
    "base64": base64.b64encode,
    "base64 after one byte": lambda secret: base64.b64encode(b"x" + secret + b"yy"),
    "base64 after two bytes": lambda secret: base64.b64encode(b"xx" + secret + b"y"),
    "base64 for addresses": base64.urlsafe_b64encode,
    "base64 in short lines": lambda secret: b"\n  ".join(_cut(base64.b64encode(b"head " + secret), 7)),
    "base64 with CRLF": lambda secret: base64.encodebytes(b"a" * 50 + secret).replace(b"\n", b"\r\n"),
    "base64 in JSON": lambda secret: json.dumps(base64.encodebytes(b"a" * 50 + secret).decode()).encode(),
}


def _cut(text: bytes, length: int) -> list[bytes]:
    return [text[start : start + length] for start in range(0, len(text), length)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_every_secret_is_found(made: Deployment, scan: Scan, form: str) -> None:
    for secret in secrets_of(made):
        content = b"before " + FORMS[form](secret.content) + b" after"
        assert names(scan.content("place", content)) == [secret.name], secret.name


@pytest.mark.parametrize("shape", ["PEM", "PEM body in one line", "DER", "JSON", "indented"])
def test_keys_are_found_in_every_shape(made: Deployment, scan: Scan, shape: str) -> None:
    pem = made.authorities[0].key
    body = b"".join(pem.splitlines()[1:-1])
    content = {
        "PEM": pem,
        "PEM body in one line": body,
        "DER": base64.b64decode(body),
        "JSON": json.dumps({"key": pem.decode()}).encode(),
        "indented": pem.replace(b"\n", b"\n      "),
    }[shape]
    assert names(scan.content("place", content)) == ["the key of authority 1"]


def test_what_is_public_is_no_finding(made: Deployment, scan: Scan) -> None:
    certificates = b"".join(authority.certificate for authority in made.authorities)
    assert list(scan.content("place", certificates + made.joins[0].token_hash.encode() + b"grid.example.org")) == []
    assert list(scan.content("place", os.urandom(100_000))) == []


# Places


def in_tar(content: bytes, name: str = "etc/file") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "tar": in_tar,
    "layer": lambda content: gzip.compress(in_tar(content)),
    "man page in a layer": lambda content: gzip.compress(in_tar(gzip.compress(content))),
    "package in a layer": lambda content: in_tar(in_tar(lzma.compress(in_tar(content)))),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_is_found(made: Deployment, scan: Scan, wrapper: str, tmp_path: Path) -> None:
    content = WRAPPERS[wrapper](b"x" * 1000 + made.joins[0].token.encode())
    assert set(names(scan.content("place", content))) == {f"join token {made.joins[0].id}"}
    file = tmp_path / "file"
    file.write_bytes(content)
    assert set(names(scan.file(file))) == {f"join token {made.joins[0].id}"}


@pytest.mark.parametrize("where", ["data", "control", "script"])
def test_package_is_opened(made: Deployment, scan: Scan, where: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "etc").mkdir()
    control = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b.invalid>\nDescription: x\n"
    token = made.joins[0].token
    (tree / "DEBIAN" / "control").write_text(control + (f" {token}\n" if where == "control" else ""))
    (tree / "DEBIAN" / "postinst").write_text("#!/bin/sh\n" + (f"# {token}\n" if where == "script" else ""))
    (tree / "DEBIAN" / "postinst").chmod(0o755)
    (tree / "etc" / "a").write_text(token if where == "data" else "")
    deb = tmp_path / "a.deb"
    subprocess.run(["dpkg-deb", "-Zxz", "--build", str(tree), str(deb)], check=True, capture_output=True)
    assert set(names(scan.file(deb))) == {f"join token {made.joins[0].id}"}


def test_name_of_a_file_is_looked_at(made: Deployment, scan: Scan, tmp_path: Path) -> None:
    (tmp_path / f"log-{made.joins[0].token}").write_text("")
    (finding,) = scan.folder(tmp_path)
    assert finding.place.startswith("the name of ")


@pytest.mark.parametrize("shift", [-60, -30, -1, 0])
def test_secret_across_two_reads_is_found(made: Deployment, scan: Scan, shift: int) -> None:
    content = b"\0" * (CHUNK_BYTES + shift) + made.admin.password_hash.encode() + b"\0" * 100
    assert names(scan.stream("place", io.BytesIO(content))) == ["the password's hash"]


def test_broken_archives_are_looked_at_as_far_as_they_go(made: Deployment, scan: Scan) -> None:
    token = made.joins[0].token.encode()
    whole = gzip.compress(token + os.urandom(1000))
    assert set(names(scan.content("place", whole[:-200]))) == {f"join token {made.joins[0].id}"}
    for rubbish in (b"\x1f\x8b\x08rubbish", b"BZhrubbish", b"\xfd7zXZ\0rubbish", b"!<arch>\nrubbish" + b"x" * 100):
        assert list(scan.content("place", rubbish)) == []


def test_links_and_private_folders_are_left_out(made: Deployment, scan: Scan, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "a").write_text(made.joins[0].token)
    (tmp_path / "link").symlink_to(tmp_path / "private" / "a")
    assert list(scan.folder(tmp_path, [tmp_path / "private"])) == []
    assert len(list(scan.folder(tmp_path))) == 1


# The pipeline's store


@pytest.mark.parametrize(
    "place",
    ["logs/conf-server.log", "latest.json", "debs/abc/manifest.json", "failed/debs-xwhep/log", "bound/abc/config.json"],
)
def test_store_is_public_but_for_conf_packages(store: Store, made: Deployment, place: str) -> None:
    for private in ("conf/abc/xwhep-server-conf_1_all.deb", "failed/conf-server/a", "tmp/bound-12/context/a"):
        path = store.root / private
        path.parent.mkdir(parents=True)
        path.write_bytes(made.server_pem)
    assert secret_scan.public_findings(store, made, []) == []
    path = store.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'{"a": "' + made.joins[0].token.encode() + b'"}')
    (finding,) = secret_scan.public_findings(store, made, [])
    assert finding == Finding(place=str(path), secret=f"join token {made.joins[0].id}")


def test_refusal_names_place_and_kind_never_the_secret(made: Deployment) -> None:
    secret_scan.refuse_secrets([])
    found = [Finding(place=f"layer {number}", secret="the server's key") for number in range(12)]
    with pytest.raises(SecretFound) as caught:
        secret_scan.refuse_secrets(found)
    assert "layer 0: the server's key" in caught.value.cause
    assert caught.value.cause.endswith("and 2 more")
