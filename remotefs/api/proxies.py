"""The machine's proxies, from the variables that its programs share: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY.

httpx reads these variables only for pools that it builds itself, and `pool` builds ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.request import getproxies

_SCHEMES = ("http", "https", "all")


def proxies_in_environment() -> dict[str, str | None]:
    """Return the proxy for each pattern of addresses, None where no proxy is to be used.

    The patterns are those of httpx: `https://`, `all://*example.org`. The variables are read as httpx reads them.
    """
    variables = getproxies()
    excepted = [name.strip() for name in variables.get("no", "").split(",")]
    if "*" in excepted:
        return {}
    proxies: dict[str, str | None] = {
        f"{scheme}://": _with_scheme(variables[scheme]) for scheme in _SCHEMES if variables.get(scheme)
    }
    return proxies | dict.fromkeys(_patterns(excepted))


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def _patterns(names: list[str]) -> Iterator[str]:
    """Yield the patterns of NO_PROXY.

    An address stands for itself, `domain` for the domain and everything below it, `.domain` only for what is below it.
    """
    for name in filter(None, names):
        if "://" in name:
            yield name
        elif (version := _ip_version(name)) is not None:
            yield f"all://[{name}]" if version == 6 else f"all://{name}"
        elif name.lower() == "localhost":
            yield f"all://{name}"
        else:
            yield f"all://*{name}"


def _ip_version(name: str) -> int | None:
    try:
        return ipaddress.ip_address(name.partition("/")[0]).version
    except ValueError:
        return None
