"""Which addresses Copilot may connect to: public ones, and private ones somebody listed. Pure.

A name in the list opens private and loopback addresses for that name. Link-local addresses, where clouds keep the
credentials of their machines, open only by being listed as an address or network themselves.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from copilot.errors import SetupError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\Z")
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")  # all that is given out for the open internet
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in (
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo and other tunnels
        "2001:db8::/32",
        "2002::/16",  # 6to4: carries any IPv4 address inside
        "3fff::/20",
    )
)


@dataclass(frozen=True, slots=True)
class Listed:
    """What somebody opened besides the public internet: names with their ports (None: any), and networks."""

    names: Mapping[str, frozenset[int | None]] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()

    def names_it(self, host: str, port: int) -> bool:
        """Whether this name is listed with this port or with any."""
        ports = self.names.get(plain(host), frozenset())
        return None in ports or port in ports

    def holds(self, address: Address) -> bool:
        """Whether the address lies in a listed network."""
        return any(address.version == network.version and address in network for network in self.networks)


def parse(entries: Iterable[str]) -> Listed:
    """Read COPILOT_OUTBOUND_ALLOW: `host`, `host:port`, an address or a network; SetupError names what is none of them."""
    names: dict[str, frozenset[int | None]] = {}
    networks: list[Network] = []
    for entry in entries:
        try:
            networks.append(ipaddress.ip_network(entry.strip("[]")))
            continue
        except ValueError:
            pass
        host, port = _split(entry)
        if host is None:
            raise SetupError(
                f"COPILOT_OUTBOUND_ALLOW entry {entry!r}: write a host, host:port, an address, or a network such as 10.1.0.0/16."
            )
        names[host] = names.get(host, frozenset()) | {port}
    return Listed(names, tuple(networks))


def _split(entry: str) -> tuple[str | None, int | None]:
    host, colon, port = entry.rpartition(":") if entry.count(":") == 1 or entry.startswith("[") else (entry, "", "")
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 0 < int(port) < 65_536):
        return None, None
    name = plain(host if colon else entry)
    literal = as_address(name)
    if not _HOST.match(name) and literal is None:
        return None, None
    return name, int(port) if colon else None


def origin_of(url: str | None) -> Listed:
    """The host and port of an address from the settings: whoever configured it has listed it."""
    parts = urlsplit(url or "")
    if not parts.hostname:
        return Listed()
    return Listed({plain(parts.hostname): frozenset({parts.port or (443 if parts.scheme == "https" else 80)})})


def plain(host: str) -> str:
    """A host's name as it is compared: lower case, no brackets, no dot at the end."""
    return host.strip("[]").rstrip(".").lower()


def as_address(host: str) -> Address | None:
    """The address a host's name is, if it is one; a zone (`fe80::1%eth0`) is none."""
    try:
        return ipaddress.ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def refusal(address: Address, *, host: str, port: int, lists: Iterable[Listed]) -> str | None:
    """Why no connection may go to this address, as a code (`private-address`, `link-local-address`, …), or None when one may."""
    kind = _kind(address)
    if kind is None:
        return None
    opened = tuple(lists)
    if any(listed.holds(address) for listed in opened):
        return None
    by_name = any(listed.names_it(host, port) for listed in opened)
    literal = as_address(plain(host)) == address
    if by_name and (literal or kind in ("private-address", "loopback-address")):
        return None
    return kind


def _kind(address: Address) -> str | None:
    """What is wrong with an address for the open internet, or None."""
    if address.is_unspecified:
        return "unspecified-address"
    if address.is_loopback:
        return "loopback-address"
    if address.is_link_local:
        return "link-local-address"
    if address.is_multicast:
        return "multicast-address"
    if isinstance(address, ipaddress.IPv6Address):
        if address in ipaddress.ip_network("fc00::/7"):
            return "private-address"
        if address not in _PUBLIC_V6:  # IPv4-mapped, NAT64, site-local and whatever else may carry another address inside
            return "special-address"
    if any(address.version == network.version and address in network for network in _NOT_PUBLIC):
        return "private-address" if address.version == 4 else "special-address"
    if address.is_private:
        return "private-address"
    return "special-address" if address.is_reserved or not address.is_global else None
