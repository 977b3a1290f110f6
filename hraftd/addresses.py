"""
Addresses as operators write them.

A server listens on a *bind address* and is dialled at an *advertised address*. Both are
``host:port``, where no host means ``localhost`` and an IPv6 address stands in brackets.
A bind address may also be one of Twisted's endpoint strings, such as
``tcp:12000:interface=127.0.0.1``.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

from attrs import frozen
from twisted.internet.endpoints import quoteStringArgument

__all__ = [
    "Address",
    "advertised_address",
    "is_wildcard",
    "listening_endpoint",
    "parse_address",
]

#: What Twisted's endpoint strings begin with. A host of such a name can be written
#: with a dot behind it.
_ENDPOINT_TYPES = frozenset(
    ("tcp", "tcp6", "ssl", "tls", "unix", "systemd", "fd", "haproxy", "stdio")
)

_TCP = ("tcp", "tcp6")

#: The longest name of a host, a colon and a port.
_LONGEST = 253 + 1 + 5

_NAME = re.compile(r"[\w-]{1,63}(\.[\w-]{1,63})*\.?")


@frozen
class Address:
    """
    A host, as a name or in digits, and a TCP port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """
        Write it so that :func:`parse_address` reads the same again.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(address: str) -> Address:
    """
    Read an address to dial.

    :raises ValueError: with a sentence, if it is none.
    """
    parsed = _parse(address)
    if parsed.port == 0:
        raise ValueError(f"nobody can dial port 0, as in {address!r}")
    return parsed


def listening_endpoint(bind_address: str) -> str:
    """
    Return Twisted's endpoint string for a bind address.

    An endpoint string is returned as it is; besides its port, whether Twisted takes it
    shows in :func:`twisted.internet.endpoints.serverFromString`. ``localhost`` becomes
    127.0.0.1. Port 0 lets the system choose one.

    :raises ValueError: with a sentence, if it is neither.
    """
    if _is_endpoint(bind_address):
        _read_endpoint(bind_address)
        return bind_address
    address = _parse(bind_address)
    host = "127.0.0.1" if address.host == "localhost" else address.host
    kind = "tcp6" if ":" in host else "tcp"
    return f"{kind}:{address.port}:interface={quoteStringArgument(host)}"


def is_wildcard(bind_address: str) -> bool:
    """
    Tell whether a bind address means every interface, so that nobody can dial it.

    :raises ValueError: with a sentence, if it is no bind address.
    """
    if not _is_endpoint(bind_address):
        return _is_unspecified(_parse(bind_address).host)
    kind, _, interface = _read_endpoint(bind_address)
    return kind in (*_TCP, "ssl") and _is_unspecified(interface)


def advertised_address(bind_address: str) -> str | None:
    """
    Return the ``host:port`` at which others reach that bind address.

    :return: ``None`` if it does not say so: a wildcard, port 0, or an endpoint that is
        not plain TCP. Then somebody has to tell.
    :raises ValueError: with a sentence, if it is no bind address.
    """
    if _is_endpoint(bind_address):
        kind, port, host = _read_endpoint(bind_address)
        if kind not in _TCP:
            return None
        address = Address(host, port)
    else:
        address = _parse(bind_address)
    if address.port == 0 or _is_unspecified(address.host):
        return None
    return str(address)


def _is_endpoint(address: str) -> bool:
    kind, colon, rest = address.partition(":")
    return bool(colon) and (kind.lower() in _ENDPOINT_TYPES or "=" in rest)


def _read_endpoint(endpoint: str) -> tuple[str, int, str]:
    """
    Return the type, the port and the interface of an endpoint string.

    :return: the port is 0 if the endpoint is not plain TCP.
    :raises ValueError: if it is, and has no port.
    """
    plain: list[str] = []
    named: dict[str, str] = {}
    for part in re.findall(r"(?:[^:\\]|\\.)+", endpoint):
        key, equals, value = part.partition("=")
        if equals:
            named[key] = re.sub(r"\\(.)", r"\1", value)
        else:
            plain.append(re.sub(r"\\(.)", r"\1", part))
    kind = plain[0].lower() if plain else ""
    port = named.get("port", plain[1] if len(plain) > 1 else "")
    number = _parse_port(port, endpoint) if kind in _TCP else 0
    return kind, number, named.get("interface", "")


def _parse(address: str) -> Address:
    if len(address) > _LONGEST:
        # What was sent by a stranger is not sent back, nor kept, whatever its length.
        raise ValueError(
            f"an address has at most {_LONGEST} characters, not {len(address)}"
        )
    host, colon, port = address.rpartition(":")
    if not colon:
        raise ValueError(f"{address!r} is not host:port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} in {address!r} is no IPv6 address") from None
    elif ":" in host:
        raise ValueError(
            f"{address!r} is not host:port; an IPv6 address needs brackets, as in "
            f"[::1]:12000"
        )
    elif not host:
        host = "localhost"
    else:
        _check_name(host, address)
    return Address(host, _parse_port(port, address))


def _check_name(host: str, address: str) -> None:
    if not _NAME.fullmatch(host) or len(host) > 253:
        raise ValueError(f"{host!r} in {address!r} is no name of a host")
    if host.rstrip(".").rpartition(".")[2].isdigit():
        # What ends in digits is read as an IPv4 address everywhere, or not at all.
        try:
            ip_address(host)
        except ValueError:
            raise ValueError(f"{host!r} in {address!r} is no IPv4 address") from None


def _parse_port(port: str, address: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise ValueError(f"{port!r} in {address!r} is no port number")
    number = int(port)
    if number > 65535:
        raise ValueError(f"{port} in {address!r} is more than the largest port, 65535")
    return number


def _is_unspecified(host: str) -> bool:
    if not host:
        return True
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False
