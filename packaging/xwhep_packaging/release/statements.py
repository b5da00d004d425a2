"""What a release says about itself, signed: in-toto statements in DSSE envelopes, beside the files, never inside them.

    provenance.json      SLSA provenance 1.0: what was built, of which commit and packages, by which pipeline
    structure.json       in-toto test result: what was made sure of in each image; may be left out by name as well
    packages.json        the same, of packages: debian/tests, what is left by a purge
    network-test.json    in-toto test result: what the containers did together
    verify.json          in-toto test result: the rebuilds under variations; left out, and said so, where none was made

https://in-toto.io/Statement/v1, https://slsa.dev/spec/v1.0/provenance, https://in-toto.io/attestation/test-result/v0.1,
https://github.com/secure-systems-lab/dsse (the envelope). The signature is OpenPGP's, detached.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xwhep_packaging.artefacts import rfc3339
from xwhep_packaging.release.signing import Key

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"
RESULT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
BUILD_TYPE = "https://xwhep.invalid/doit-build/v1"

Subjects = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A commit that went in: `digest` is git's, or an archive's sha256."""

    name: str
    uri: str
    digest: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Built:
    """What provenance tells. `sources`: the product's first; `packages`: (name, version, sha256) of the locked .debs in
    chroots and images; `skipped`: checks that were left out, by name; `byproducts`: files that describe what was made;
    `finished_at`: UTC seconds, by the wall clock."""

    sources: Sequence[Source]
    packages: Sequence[tuple[str, str, str]]
    tools: Mapping[str, str]
    keys: Mapping[str, str]
    skipped: Sequence[str]
    byproducts: Subjects
    finished_at: int


def provenance(subjects: Subjects, built: Built) -> dict[str, Any]:
    """`subjects`: (path or name, sha256) of all that was made."""
    sources = [{"name": source.name, "uri": source.uri, "digest": dict(source.digest)} for source in built.sources]
    packages = [
        {"name": f"pkg:deb/debian/{name}@{version}", "digest": {"sha256": sha256}}
        for name, version, sha256 in built.packages
    ]
    return _statement(
        subjects,
        PROVENANCE_TYPE,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"source": sources[0], "skipped": list(built.skipped)},
                "internalParameters": {"keys": dict(built.keys), "tools": dict(built.tools)},
                "resolvedDependencies": [*sources, *packages],
            },
            "runDetails": {
                "builder": {"id": "https://xwhep.invalid/pipeline", "version": dict(built.tools)},
                "metadata": {"finishedOn": rfc3339(built.finished_at)},
                "byproducts": _descriptors(built.byproducts),
            },
        },
    )


def test_result(
    subjects: Subjects, result: str, passed: Sequence[str], configuration: Mapping[str, str]
) -> dict[str, Any]:
    """`result`: PASSED, WARNED or FAILED; `configuration`: what was tested with."""
    named = [{"name": name, "annotations": {"value": value}} for name, value in configuration.items()]
    return _statement(subjects, RESULT_TYPE, {"result": result, "configuration": named, "passedTests": list(passed)})


def envelope(statement: Mapping[str, Any], key: Key, epoch: int) -> bytes:
    """The signed statement; its signature is over DSSE's pre-authentication encoding."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":"))
    signature = key.detached(pre_authentication(payload), epoch)
    signed = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload.encode()).decode(),
        "signatures": [{"keyid": key.fingerprint, "sig": base64.b64encode(signature.encode()).decode()}],
    }
    return (json.dumps(signed, indent=1) + "\n").encode()


def pre_authentication(payload: str) -> str:
    """PAE of DSSE v1."""
    return f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(payload.encode())} {payload}"


def _statement(subjects: Subjects, kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": _descriptors(subjects),
        "predicateType": kind,
        "predicate": predicate,
    }


def _descriptors(files: Subjects) -> list[dict[str, Any]]:
    return [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in files]
