"""What a release says of its contents, as files: bills of materials, sizes, known vulnerabilities.

images, .debs ──> trees, control ──> sbom/NAME.{spdx,cdx}.json, sizes.json ──┬──> byproducts of the provenance
database, where one is configured ────────────────> vulnerabilities.json ────┘
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from xwhep_packaging.pipeline import Pipeline
from xwhep_packaging.release.bills import spdx
from xwhep_packaging.release.bills.bill import About, Bill, of_deb, of_image
from xwhep_packaging.release.bills.contents import read_images
from xwhep_packaging.release.bills.unowned import reasons_of
from xwhep_packaging.release.bills.vulnerabilities import Database
from xwhep_packaging.release.gates import structure
from xwhep_packaging.release.gates.structure import Subject
from xwhep_packaging.settings import Settings

BILLS = "sbom"
SIZES = "sizes.json"
VULNERABILITIES = "vulnerabilities.json"
BYPRODUCTS = (f"{BILLS}/", SIZES, VULNERABILITIES)


def database_of(settings: Settings) -> Database | None:
    """The database that the settings name."""
    name = settings.release.vulnerabilities
    return Database(file=settings.root_folder / Path(name).expanduser(), suite=settings.suite.name) if name else None


def subjects_of(pipeline: Pipeline, report: dict[str, Any]) -> list[Subject]:
    """The images of a build, read from the engine's storage."""
    rows = {str(row["name"]): row for row in report["images"]}
    trees = read_images({name: pipeline.output(f"images:{name}") for name in rows})
    settings = pipeline.settings.images
    return [Subject(name=name, settings=settings[name], tree=trees[name], row=row) for name, row in rows.items()]


@dataclass(frozen=True, kw_only=True)
class Papers:
    """`report`: the build, as latest.json has it; `subjects`: its images; `database`: of vulnerabilities, or none."""

    pipeline: Pipeline
    report: dict[str, Any]
    subjects: Sequence[Subject]
    database: Database | None = None

    def write(self, folder: Path) -> None:
        """Into a release's folder.

        Raises:
            ReleaseError: an image holds a file that no package owns, for no reason that is known.
        """
        from xwhep_packaging.release.bills import cdx  # 0.1 s, which only a release has

        place = folder / BILLS
        place.mkdir()
        for bill in self.bills():
            _write(place / f"{bill.name}.spdx.json", spdx.document(bill))
            _write(place / f"{bill.name}.cdx.json", cdx.document(bill))
        _write(folder / SIZES, structure.sizes(self.subjects))
        if self.listing is not None:
            _write(folder / VULNERABILITIES, self.listing)

    @cached_property
    def listing(self) -> dict[str, Any] | None:
        """What is known of Debian's packages in the images; the product's own are in no such database."""
        own = {row["package"] for row in self.report["debs"]}
        images = {
            subject.name: [package for package in subject.tree.packages if package.name not in own]
            for subject in self.subjects
        }
        return self.database.listing(images) if self.database else None

    def bills(self) -> Iterator[Bill]:
        about = self._about()
        for row in self.report["debs"]:
            yield of_deb(Path(row["path"]), about)
        for subject in self.subjects:
            reasons = reasons_of(subject.name, subject.tree.unowned(), subject.settings.expects.files)
            yield of_image(subject, reasons, about)

    def _about(self) -> About:
        lock, product = self.pipeline.supply.lock, self.pipeline.settings.product
        locked = {(deb.name, deb.version): deb.sha256 for deb in lock.debs.values()} if lock else {}
        return About(
            product=product.name,
            maintainer=product.maintainer,
            version=str(self.report["version"]),
            epoch=int(self.report["epoch"]),
            sums={**locked, **{(row["package"], row["version"]): row["sha256"] for row in self.report["debs"]}},
            own=frozenset(row["package"] for row in self.report["debs"]),
        )


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
