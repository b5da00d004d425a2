"""Packages of one content become one file, whoever packed them; what differs is named."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xwhep_packaging.stages.debs import normalise

EPOCH = 1_700_000_000
CONTROL = b"Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: A <a@b>\nDescription: d\n more\n"


def packed(files: list[tuple[str, bytes]], *, time: int, owner: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uid, info.gid = len(content), time, owner, owner
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.mode = 0o755 if name.endswith("/") else 0o644
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def ar(members: list[tuple[str, bytes]]) -> bytes:
    parts = [normalise.AR_MAGIC]
    for name, content in members:
        parts.append(f"{name:<16}{1:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content)
        parts.append(b"\n" * (len(content) % 2))
    return b"".join(parts)


def deb(files: list[tuple[str, bytes]], *, time: int = EPOCH + 5, owner: int = 1000, control: bytes = CONTROL) -> bytes:
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {name.removeprefix('./')}\n" for name, content in files)
    inner = packed([("./md5sums", sums.encode()), ("./control", control)], time=time, owner=owner)
    data = packed(files, time=time, owner=owner)
    return ar(
        [("debian-binary", b"2.0\n"), ("control.tar.gz", gzip.compress(inner)), ("data.tar.xz", lzma.compress(data))]
    )


FILES = [("./usr/", b""), ("./usr/b", b"two"), ("./usr/a", b"one")]


def test_order_times_and_owners_leave_no_trace() -> None:
    first, changes = normalise.normal_form(deb(FILES), EPOCH)
    second, _ = normalise.normal_form(deb(FILES[::-1], time=EPOCH + 99, owner=4321), EPOCH)
    assert first == second
    assert changes == ["compression", "order of members", "owners", "times"]
    assert normalise.differing(first, second) == []


def test_normal_form_is_its_own() -> None:
    first, _ = normalise.normal_form(deb(FILES), EPOCH)
    assert normalise.normal_form(first, EPOCH) == (first, [])


def test_times_before_the_epoch_stay() -> None:
    early, _ = normalise.normal_form(deb(FILES, time=EPOCH - 1000), EPOCH)
    late, _ = normalise.normal_form(deb(FILES), EPOCH)
    assert set(normalise.differing(early, late)) >= {"/usr/a", "/usr/b"}


def test_gzip_header_inside_is_clamped_and_its_sum_made_anew(tmp_path: Path) -> None:
    def zipped(time: int) -> bytes:
        buffer = io.BytesIO()
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=time, filename="") as stream:
            stream.write(b"text")
        return buffer.getvalue()

    forms = [normalise.normal_form(deb([("./doc.gz", zipped(EPOCH + more))]), EPOCH) for more in (3, 9)]
    assert forms[0][0] == forms[1][0]
    assert "times in gzip headers" in forms[0][1]
    (tmp_path / "x.deb").write_bytes(forms[0][0])
    subprocess.run(["dpkg-deb", "--extract", "x.deb", "data"], cwd=tmp_path, check=True)
    subprocess.run(["dpkg-deb", "--control", "x.deb", "control"], cwd=tmp_path, check=True)
    line = (tmp_path / "control" / "md5sums").read_text().split()
    assert line == [hashlib.md5((tmp_path / "data" / "doc.gz").read_bytes()).hexdigest(), "doc.gz"]
    assert gzip.decompress((tmp_path / "data" / "doc.gz").read_bytes()) == b"text"


def test_dpkg_reads_the_normal_form_and_a_fixed_system_owner_stays(tmp_path: Path) -> None:
    form, _ = normalise.normal_form(deb(FILES, owner=8), EPOCH)
    (tmp_path / "x.deb").write_bytes(form)
    listing = subprocess.run(
        ["dpkg-deb", "--contents", "x.deb"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert [line.split()[-1] for line in listing.stdout.splitlines()] == ["./usr/", "./usr/a", "./usr/b"]
    assert "8/8" in listing.stdout
    assert normalise.control_fields(form)["Package"] == "sample"


def test_umask_leaves_no_trace_but_a_folder_for_all_stays_so() -> None:
    def form(mode: int) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, bits in (("./a", mode), ("./all", 0o1777)):
                info = tarfile.TarInfo(name)
                info.type, info.mode = (tarfile.DIRTYPE if name == "./all" else tarfile.REGTYPE), bits
                archive.addfile(info)
        control = packed([("./control", CONTROL)], time=1)
        return ar([("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar", buffer.getvalue())])

    first, changes = normalise.normal_form(form(0o664), EPOCH)
    assert first == normalise.normal_form(form(0o644), EPOCH)[0]
    assert "modes" in changes
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(dict(normalise.ar_members(first))["data.tar.xz"]))) as archive:
        assert archive.getmember("./all").mode == 0o1777


def test_what_differs_is_named() -> None:
    first, _ = normalise.normal_form(deb([("./a", b"1"), ("./b", b"2")]), EPOCH)
    second, _ = normalise.normal_form(deb([("./a", b"1"), ("./b", b"3")]), EPOCH)
    assert normalise.differing(first, second) == ["/b", "DEBIAN/md5sums"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"text", "no ar archive", id="text"),
        pytest.param(deb(FILES)[:-40], "cut short", id="cut"),
        pytest.param(ar([("debian-binary", b"2.0\n")]), "no control.tar", id="no members"),
        pytest.param(ar([("control.tar.zst", b""), ("data.tar", b"")]), "dpkg-deb -Zxz", id="zstd"),
        pytest.param(ar([("control.tar.gz", b"x"), ("data.tar", b"")]), "control.tar.gz", id="no gzip"),
        pytest.param(deb([("./usr/", b"")]), "holds no file", id="empty"),
    ],
)
def test_what_is_no_package_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(normalise.NotADeb, match=says):
        normalise.normal_form(content, EPOCH)


@given(st.integers(min_value=0, max_value=len(deb(FILES)) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_package_is_refused_or_read(position: int, damage: bytes) -> None:
    whole = deb(FILES)
    with contextlib.suppress(normalise.NotADeb):
        form, _ = normalise.normal_form(whole[:position] + damage + whole[position + len(damage) :], EPOCH)
        assert form.startswith(normalise.AR_MAGIC)
