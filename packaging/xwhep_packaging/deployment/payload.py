"""What of a deployment each role's package holds, in /etc/xwhep/ROLE-deployment.

    server   server.toml  ca.pem  server.pem (key, certificate, chain)  admin.json  join.json     hashes, no password
             worker.join
    worker   worker.toml  ca.pem  worker.join (address, fingerprint, token)
    client   client.toml  ca.pem                                                                  no secret at all

The authority's keys are in none of them. The server shows worker.join to who asks it for the join line.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
from datetime import UTC, datetime

from xwhep_packaging.deployment.records import PORT, Deployment

HEAD = "# Of the deployment {name}, by `doit configure`. Settings of your own belong into /etc/xwhep/{role}.toml.\n"


def payload(deployment: Deployment, role: str) -> dict[str, bytes]:
    """File name to content, for one role."""
    head = HEAD.format(name=deployment.about.name, role=role)
    common = {"ca.pem": b"".join(authority.certificate for authority in deployment.authorities)}
    line = f"{join_line(deployment)}\n".encode()
    match role:
        case "server":
            return common | {
                "server.toml": f"{head}name = {json.dumps([deployment.about.server])}\ndiscovery = true\n".encode(),
                "server.pem": deployment.server_pem,
                "admin.json": _admin(deployment),
                "join.json": _joins(deployment),
                "worker.join": line,
            }
        case "worker":
            return common | {"worker.toml": head.encode(), "worker.join": line}
        case "client":
            lines = f"address = {json.dumps(address(deployment))}\nauthority = {json.dumps('ca.pem')}\n"
            return common | {"client.toml": (head + lines).encode()}
    raise ValueError(f"{role!r} is no role")


def address(deployment: Deployment) -> str:
    server = deployment.about.server
    return f"https://[{server}]:{PORT}" if ":" in server else f"https://{server}:{PORT}"


def join_line(deployment: Deployment) -> str:
    """The line that lets a worker in: address, the newest authority's fingerprint, token."""
    der = ssl.PEM_cert_to_DER_cert(deployment.authorities[0].certificate.decode("ascii"))
    fingerprint = f"sha256:{hashlib.sha256(der).hexdigest()}"
    return f"xwhep-join-1 {address(deployment)} {fingerprint} {deployment.joins[0].token}"


def digest(deployment: Deployment, role: str) -> str:
    """Changes with every byte of the role's files, and tells nothing about them to who has not the folder's own key."""
    keyed = hmac.new(deployment.digest_key, role.encode(), "sha256")
    for name, content in sorted(payload(deployment, role).items()):
        keyed.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return keyed.hexdigest()


def version(deployment: Deployment, role: str) -> str:
    """Of the role's package: when the deployment was made, and how often the package has changed since."""
    made = datetime.fromtimestamp(deployment.about.created, UTC).strftime("%Y%m%d.%H%M%S")
    return f"{made}.{deployment.about.packages[role].serial}"


def epoch(deployment: Deployment, role: str) -> int:
    """When what the package holds changed last (UTC seconds); every file in it has this time."""
    return deployment.about.packages[role].changed


def _admin(deployment: Deployment) -> bytes:
    login = {"login": deployment.admin.login, "password_hash": deployment.admin.password_hash}
    return json.dumps(login, indent=1).encode() + b"\n"


def _joins(deployment: Deployment) -> bytes:
    rows = [
        {"id": join.id, "token_hash": join.token_hash, "visibility": join.visibility, "group": join.group}
        for join in deployment.joins
    ]
    return json.dumps(rows, indent=1).encode() + b"\n"
