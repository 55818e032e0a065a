"""CloudFront's policies: what a signature says yes to (Amazon CloudFront Developer Guide, "Serve private content").

Pure. A canned policy is one that its reader writes again from the request; a custom one comes with the request.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from nova.core.limits import parse_address

MAX_POLICY: Final = 4096  # bytes; CloudFront's own limit for a policy in a URL is lower
MAX_EPOCH: Final = 2**31 - 1  # CloudFront takes no later moment
_WILD: Final = 64  # wildcards of one resource; a match costs their number times the length of the URL


class PolicyError(ValueError):
    """A policy that cannot be read, or that does not fit the request. `reason`: malformed, wrong_resource, expired, not_yet_valid,
    wrong_address."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Policy:
    """resource: a URL in which `*` stands for any characters and `?` for one. Times are unix seconds. network: None is everybody."""

    resource: str
    expires: int
    not_before: int = 0
    network: IPv4Network | IPv6Network | None = None

    def check(self, url: str, peer: str, now: float, leeway: float = 0) -> None:
        """Raises PolicyError: it does not allow `peer` to have `url` now."""
        if self.expires + leeway <= now:
            raise PolicyError("expired")
        if self.not_before - leeway > now:
            raise PolicyError("not_yet_valid")
        if self.network is not None:
            address = parse_address(peer)
            if address is None or address.version != self.network.version or address not in self.network:
                raise PolicyError("wrong_address")
        if not matches(self.resource, url):
            raise PolicyError("wrong_resource")

    def text(self) -> bytes:
        """As it is signed: JSON without white space, members in CloudFront's order."""
        condition: dict[str, Any] = {"DateLessThan": {"AWS:EpochTime": self.expires}}
        if self.network is not None:
            condition["IpAddress"] = {"AWS:SourceIp": str(self.network)}
        if self.not_before:
            condition["DateGreaterThan"] = {"AWS:EpochTime": self.not_before}
        statement = {"Statement": [{"Resource": self.resource, "Condition": condition}]}
        return json.dumps(statement, separators=(",", ":"), ensure_ascii=False).encode()


def canned(url: str, expires: int) -> bytes:
    """The text of the policy that `Expires=` stands for. Nothing in it is a pattern: the URL is the whole resource."""
    return Policy(url, expires).text()


def read(text: bytes) -> Policy:
    """A custom policy. Strict: one statement, no member that is not known, none twice. Raises PolicyError `malformed`."""
    if len(text) > MAX_POLICY:
        raise PolicyError("malformed")
    try:
        document = json.loads(text, object_pairs_hook=_once)
        (statement,) = _members(document, {"Statement"})["Statement"]
        _members(statement, {"Resource", "Condition"})
        condition = _members(statement["Condition"], {"DateLessThan", "DateGreaterThan", "IpAddress"})
        resource = statement["Resource"]
        if not isinstance(resource, str) or not resource or resource.count("*") + resource.count("?") > _WILD:
            raise PolicyError("malformed")
        expires = _epoch(condition["DateLessThan"])
        not_before = _epoch(condition["DateGreaterThan"]) if "DateGreaterThan" in condition else 0
        network = None
        if "IpAddress" in condition:
            found = ip_network(_members(condition["IpAddress"], {"AWS:SourceIp"})["AWS:SourceIp"], strict=False)
            network = found if found.prefixlen else None  # 0.0.0.0/0 is how CloudFront's users write "everybody"
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PolicyError("malformed") from None
    return Policy(resource, expires, not_before, network)


def matches(pattern: str, url: str) -> bool:
    """Whether `url` is what `pattern` says: `*` any characters, also none; `?` exactly one. At most len(pattern) * len(url) steps."""
    at = here = 0
    star, resumed = -1, 0
    while here < len(url):
        if at < len(pattern) and pattern[at] == "*":
            star, resumed, at = at, here, at + 1
        elif at < len(pattern) and pattern[at] in ("?", url[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            resumed += 1
            at, here = star + 1, resumed
        else:
            return False
    return pattern[at:].strip("*") == ""


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise PolicyError("malformed")
    return found


def _members(value: Any, known: set[str]) -> Any:
    if not isinstance(value, dict) or not value.keys() <= known:
        raise PolicyError("malformed")
    return value


def _epoch(value: Any) -> int:
    found = _members(value, {"AWS:EpochTime"})["AWS:EpochTime"]
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found <= MAX_EPOCH:
        raise PolicyError("malformed")
    return found
