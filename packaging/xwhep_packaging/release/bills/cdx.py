"""A bill as CycloneDX 1.6 in JSON, written by the project's own library; slow to import, so only a release does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from xwhep_packaging.release.bills.bill import Bill, Listed
from xwhep_packaging.release.bills.installed import Package

SUBJECT = "subject"
REASON = "xwhep:reason"
LINK = "xwhep:link"
SOURCE = "xwhep:source"


def document(bill: Bill) -> dict[str, Any]:
    """All of it; the library sorts what it writes. The serial number is one of what the bill is about."""
    subject = _component(bill.subject, bill.sha256, SUBJECT)
    subject.type = ComponentType.CONTAINER if bill.is_image else ComponentType.APPLICATION
    parts = {part.name: _component(part, bill.sums.get((part.name, part.version), ""), "") for part in bill.parts}
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{bill.name}/{bill.sha256}"),
        metadata=BomMetaData(timestamp=datetime.fromtimestamp(bill.epoch, UTC), component=subject),
        components=[*parts.values(), *(_file(listed) for listed in bill.files)],
        dependencies=_dependencies(bill, subject, parts),
    )
    found: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    return found


def _component(package: Package, sha256: str, ref: str) -> Component:
    person, _ = package.person
    source = f"{package.source} {package.source_version}" if package.source else ""
    return Component(
        name=package.name,
        version=package.version or None,
        bom_ref=ref or f"{package.name}:{package.architecture}".removesuffix(":"),
        purl=PackageURL.from_string(package.url) if package.architecture else None,
        supplier=OrganizationalEntity(name=person) if person else None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        properties=[Property(name=SOURCE, value=source)] if source else [],
    )


def _file(listed: Listed) -> Component:
    said = {LINK: listed.entry.link, REASON: listed.reason}
    return Component(
        type=ComponentType.FILE,
        name=listed.path,
        bom_ref=f"file:{listed.path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=listed.entry.sha256)],
        properties=[Property(name=name, value=value) for name, value in said.items() if value],
    )


def _dependencies(bill: Bill, subject: Component, parts: Mapping[str, Component]) -> list[Dependency]:
    found = {name: [parts[other] for other in bill.needs.get(name, ())] for name in parts}
    rows = [(parts[name], others) for name, others in found.items()]
    needed = parts.values() if bill.is_image else [parts[name] for name in bill.needs.get(bill.subject.name, ())]
    rows.append((subject, list(needed)))
    return [
        Dependency(ref=one.bom_ref, dependencies=[Dependency(ref=other.bom_ref) for other in others])
        for one, others in rows
    ]
