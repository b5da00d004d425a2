"""Under which names and addresses this machine can be reached, for the server's certificate."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
import threading
from collections.abc import Iterable
from pathlib import Path

FQDN_TIMEOUT_S = 0.3  # a resolver that does not answer must not delay the start
_SIOCGIFADDR = 0x8915
_INET6_TABLE = Path("/proc/net/if_inet6")


def names_of_this_machine(configured: Iterable[str]) -> frozenset[str]:
    """`configured`, the host name with and without domain, localhost, and every address; none of them twice."""
    names = {*configured, socket.gethostname(), _fqdn(), "localhost", "127.0.0.1", "::1", *_ipv4(), *_ipv6()}
    return frozenset(name.lower() for name in names if _usable(name))


def _usable(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        try:
            return bool(name) and len(name.encode("idna")) <= 253
        except UnicodeError:
            return False
    return True


def _fqdn() -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(socket.getfqdn()), daemon=True)
    thread.start()
    thread.join(FQDN_TIMEOUT_S)
    return found[0] if found else ""


def _ipv4() -> set[str]:
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, interface in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
            except OSError:  # an interface without an IPv4 address
                continue
            found.add(socket.inet_ntoa(answer[20:24]))
    return found


def _ipv6() -> set[str]:
    try:
        lines = _INET6_TABLE.read_text().splitlines()
    except OSError:
        return set()
    addresses = {ipaddress.IPv6Address(bytes.fromhex(line.split()[0])) for line in lines}
    # Link-local ones need a scope, which a certificate cannot name.
    return {str(address) for address in addresses if not address.is_link_local}
