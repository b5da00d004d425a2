"""Bills of materials: valid by the schemas of both forms, the same bytes each time, and nothing in an image unnamed."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from tiny_image import EPOCH, LayerMaker, base, subject
from xwhep_packaging.errors import ReleaseError
from xwhep_packaging.release.bills import cdx, spdx
from xwhep_packaging.release.bills.bill import About, Bill, of_deb, of_image
from xwhep_packaging.release.bills.contents import lay_over
from xwhep_packaging.release.bills.installed import packages_of
from xwhep_packaging.release.bills.unowned import reasons_of

ABOUT = About(
    product="grid",
    maintainer="Grid <g@b.invalid>",
    version="1.0~git1+abc",
    epoch=EPOCH,
    sums={("libc6", "2.41-12"): "b" * 64},
    own=frozenset({"grid-server", "grid-data"}),
)
CONTROL = """Package: grid-server
Version: 1.0~git1+abc
Architecture: all
Maintainer: Grid <g@b.invalid>
Depends: python3 (>= 3.13) | pypy, libc6:any,
 grid-data
Description: short
"""


@pytest.fixture
def deb(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    (tree / "usr" / "bin").mkdir(parents=True)
    (tree / "usr" / "bin" / "serve").write_text("serve")
    (tree / "usr" / "bin" / "other name").symlink_to("serve")
    target = tmp_path / "grid-server_1.0~git1+abc_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, target], check=True, capture_output=True)
    return target


def image_bill(folder: Path) -> Bill:
    image = subject(base(folder))
    return of_image(image, reasons_of("server", image.tree.unowned(), {}), ABOUT)


@pytest.fixture(params=["package", "image"])
def bill(request: pytest.FixtureRequest, deb: Path, tmp_path: Path) -> Bill:
    return of_deb(deb, ABOUT) if request.param == "package" else image_bill(tmp_path)


def spdx_faults(document: dict[str, Any], folder: Path) -> list[str]:
    file = folder / "bill.spdx.json"
    file.write_text(json.dumps(document))
    return [message.validation_message for message in validate_full_spdx_document(parse_file(str(file)))]


def cdx_faults(document: dict[str, Any]) -> object:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def test_spdx_is_valid(bill: Bill, tmp_path: Path) -> None:
    document = spdx.document(bill)
    assert spdx_faults(document, tmp_path) == []
    document["relationships"][0]["relatedSpdxElement"] = "SPDXRef-nobody"
    assert spdx_faults(document, tmp_path) != []


def test_cyclonedx_is_valid(bill: Bill) -> None:
    document = cdx.document(bill)
    assert cdx_faults(document) is None
    document["components"][0]["type"] = "thing"
    assert cdx_faults(document) is not None


@pytest.mark.parametrize("form", [spdx.document, cdx.document])
def test_again_it_has_the_same_bytes(form: Callable[[Bill], dict[str, Any]], bill: Bill) -> None:
    text = json.dumps(form(bill))
    assert json.dumps(form(bill)) == text
    assert "2027-01-15T08:00:00" in text, "its only time is the source's"


def test_a_package_lists_its_files_and_what_it_needs(deb: Path) -> None:
    document = spdx.document(of_deb(deb, ABOUT))
    names = [package["name"] for package in document["packages"]]
    assert names == ["grid-server", "grid-data", "libc6", "python3"]
    files = {file["fileName"]: file.get("comment") for file in document["files"]}
    assert files == {"./usr/bin/serve": None, "./usr/bin/other name": "link to serve"}
    needs = [row for row in document["relationships"] if row["relationshipType"] == "DEPENDS_ON"]
    assert {row["spdxElementId"] for row in needs} == {"SPDXRef-subject"}
    assert len(needs) == 3


def test_packages_are_named_as_scanners_know_them(tmp_path: Path) -> None:
    components = {part["name"]: part for part in cdx.document(image_bill(tmp_path))["components"]}
    assert components["libc6"]["purl"] == "pkg:deb/debian/libc6@2.41-12?arch=amd64&upstream=glibc"
    assert components["libc6"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert components["dash"]["purl"] == "pkg:deb/debian/dash@0.5%2Bb1?arch=amd64"
    assert components["dash"]["supplier"] == {"name": "A. Person"}
    assert "gone" not in components
    assert [part["name"] for part in components["/etc/passwd"]["properties"]] == ["xwhep:reason"]


def test_what_needs_what_in_an_image(tmp_path: Path) -> None:
    document = cdx.document(image_bill(tmp_path))
    needs = {row["ref"]: row.get("dependsOn") for row in document["dependencies"]}
    assert needs["dash:amd64"] == ["libc6:amd64"]
    assert needs["subject"] == ["dash:amd64", "libc6:amd64"]


def test_damaged_package_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(ReleaseError, match=r"x\.deb is no package"):
        of_deb(tmp_path / "x.deb", ABOUT)


def test_versions_of_sources_are_read() -> None:
    (package,) = packages_of("Package: a\nStatus: hold ok installed\nVersion: 1+b1\nArchitecture: all\nSource: b (1)\n")
    assert (package.source, package.source_version) == ("b", "1")


# Whose is a file


def test_owners_are_found_behind_links_diversions_and_byte_code(tmp_path: Path) -> None:
    tree = subject(base(tmp_path)).tree
    assert tree.owners["/usr/bin/dash"] == "dash", "dpkg lists it as /bin/dash"
    assert tree.owners["/usr/lib/x/__pycache__/module.cpython-313.pyc"] == "libc6"
    assert tree.owners["/usr/lib/x/new"] == "libc6"
    loose = [path for path in tree.unowned() if not path.startswith("/var/lib/dpkg/")]
    assert loose == ["/etc/passwd"]


@pytest.mark.parametrize(
    "name",
    ["opt/planted", "usr/lib/x/__pycache__/other.cpython-313.pyc", "usr/lib/x/__pycache__/module.pyc", "planted"],
)
def test_a_file_of_no_package_needs_a_reason(tmp_path: Path, name: str) -> None:
    image = subject(base(tmp_path, **{name: "x"}))
    with pytest.raises(ReleaseError, match="image server holds files that no package owns") as caught:
        reasons_of("server", image.tree.unowned(), {})
    assert caught.value.cause == f"/{name}"
    assert "[images.server.expects] files" in caught.value.next_step
    own = {f"/{name}": "a note for people"}
    assert reasons_of("server", image.tree.unowned(), own)[f"/{name}"] == "a note for people"


def test_many_files_of_no_package_are_told_in_few_lines(tmp_path: Path) -> None:
    image = subject(base(tmp_path, **{f"opt/{number:02}": "x" for number in range(20)}))
    with pytest.raises(ReleaseError) as caught:
        reasons_of("server", image.tree.unowned(), {})
    assert caught.value.cause.endswith("/opt/07 and 12 more")


# Layers, one on another


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        (lambda top: top.add("a/.wh.b"), ["/a", "/a/c", "/a/d", "/a/d/e"]),
        (lambda top: top.add("a/.wh.d"), ["/a", "/a/b", "/a/c"]),
        (lambda top: top.add("a/.wh..wh..opq").add("a/new"), ["/a", "/a/new"]),
        (lambda top: top.add("a/d"), ["/a", "/a/b", "/a/c", "/a/d"]),
        (lambda top: top.add(".wh.a"), []),
    ],
    ids=["a file", "a folder", "all of a folder", "a folder by a file", "everything"],
)
def test_what_an_upper_layer_takes_away(
    tmp_path: Path, upper: Callable[[LayerMaker], LayerMaker], left: list[str]
) -> None:
    lower = LayerMaker(tmp_path).add("a", type=tarfile.DIRTYPE).add("a/b").add("a/c")
    lower.add("a/d", type=tarfile.DIRTYPE).add("a/d/e")
    files = lower.read()
    lay_over(files, upper(LayerMaker(tmp_path)).read())
    assert sorted(files) == left


def test_a_hard_link_is_the_file_itself_and_has_no_bytes_of_its_own(tmp_path: Path) -> None:
    files = LayerMaker(tmp_path).add("a", "text", 0o4755).link("b", "a", tarfile.LNKTYPE).read()
    assert files["/b"] == replace(files["/a"], size=0)
    assert (files["/a"].mode, files["/a"].size) == (0o4755, 4)
