"""A bill as SPDX 2.3 in JSON: https://spdx.github.io/spdx-spec/v2.3/

The one library that writes this form brings a store of RDF triples along; here it is dictionaries, and a test lets that
library read and validate them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from xwhep_packaging.artefacts import rfc3339
from xwhep_packaging.release.bills.bill import Bill, Listed
from xwhep_packaging.release.bills.installed import Package

NAMESPACE = "https://xwhep.invalid/spdx"
DOCUMENT = "SPDXRef-DOCUMENT"
SUBJECT = "SPDXRef-subject"
LOOSE = "SPDXRef-files-of-no-package"
NOT_SAID = "NOASSERTION"
LICENCE = {"licenseConcluded": NOT_SAID, "copyrightText": NOT_SAID}

Document = dict[str, Any]


def document(bill: Bill) -> Document:
    """All of it, in an order that does not change."""
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": f"{bill.name} {bill.subject.version}",
        "documentNamespace": f"{NAMESPACE}/{bill.name}/{bill.sha256}",
        "creationInfo": {"created": rfc3339(bill.epoch), "creators": ["Tool: doit-release"]},
        "packages": list(_packages(bill)),
        "files": [_file(listed) for listed in bill.files],
        "relationships": [
            {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
            for one, kind, other in _relationships(bill)
        ],
    }


def _packages(bill: Bill) -> Iterator[Document]:
    subject = _package(bill.subject, SUBJECT, bill.sha256)
    subject["primaryPackagePurpose"] = "CONTAINER" if bill.is_image else "INSTALL"
    yield subject if bill.is_image else {**subject, **_analyzed(bill.files)}
    for part in bill.parts:
        yield _package(part, _id(part), bill.sums.get((part.name, part.version), ""))
    if bill.is_image:
        loose = {"SPDXID": LOOSE, "name": "files that no package owns", "downloadLocation": NOT_SAID}
        yield {**loose, "licenseDeclared": NOT_SAID, **LICENCE, **_analyzed(bill.files)}


def _package(package: Package, name: str, sha256: str) -> Document:
    person, address = package.person
    said = {
        "versionInfo": package.version,
        "supplier": f"Organization: {person} ({address})" if person else "",
        "sourceInfo": f"built from {package.source} {package.source_version}" if package.source else "",
    }
    found: Document = {
        "SPDXID": name,
        "name": package.name,
        **{key: text for key, text in said.items() if text},
        "downloadLocation": NOT_SAID,
        "filesAnalyzed": False,
        "licenseDeclared": NOT_SAID,
        **LICENCE,
    }
    if package.architecture:
        locator = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.url}
        found["externalRefs"] = [locator]
    if sha256:
        found["checksums"] = [{"algorithm": "SHA256", "checksumValue": sha256}]
    return found


def _analyzed(files: Sequence[Listed]) -> Document:
    """The code that stands for a set of files: SHA1 over their sorted SHA1s."""
    sums = "".join(sorted(listed.entry.sha1 for listed in files))
    code = hashlib.sha1(sums.encode(), usedforsecurity=False).hexdigest()
    return {
        "filesAnalyzed": True,
        "packageVerificationCode": {"packageVerificationCodeValue": code},
        "licenseInfoFromFiles": [NOT_SAID],
    }


def _file(listed: Listed) -> Document:
    entry = listed.entry
    words = [f"link to {entry.link}" if entry.kind == "link" else "", listed.reason]
    comment = "; ".join(filter(None, words))
    return {
        "SPDXID": _file_id(listed),
        "fileName": f".{listed.path}",
        "checksums": [
            {"algorithm": "SHA1", "checksumValue": entry.sha1},
            {"algorithm": "SHA256", "checksumValue": entry.sha256},
        ],
        "licenseInfoInFiles": [NOT_SAID],
        **LICENCE,
        **({"comment": comment} if comment else {}),
    }


def _relationships(bill: Bill) -> Iterator[tuple[str, str, str]]:
    yield DOCUMENT, "DESCRIBES", SUBJECT
    names = {part.name: _id(part) for part in bill.parts}
    if bill.is_image:
        yield from ((SUBJECT, "CONTAINS", name) for name in [*names.values(), LOOSE])
    else:
        names[bill.subject.name] = SUBJECT
    holder = LOOSE if bill.is_image else SUBJECT
    yield from ((holder, "CONTAINS", _file_id(listed)) for listed in bill.files)
    for name, others in sorted(bill.needs.items()):
        yield from ((names[name], "DEPENDS_ON", names[other]) for other in others)


def _id(package: Package) -> str:
    words = f"{package.name}-{package.architecture}" if package.architecture else package.name
    return f"SPDXRef-package-{re.sub(r'[^A-Za-z0-9.-]', '-plus-', words)}"


def _file_id(listed: Listed) -> str:
    return f"SPDXRef-file-{hashlib.sha256(listed.path.encode()).hexdigest()[:16]}"
