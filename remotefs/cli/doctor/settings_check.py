"""The settings, the key and where it comes from, and the proxies; no secret gets out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from remotefs.api.proxies import proxies_in_environment
from remotefs.cli.doctor.findings import Finding, ok, problem, warning
from remotefs.cli.launch.plan import load_settings
from remotefs.config import Config, ServiceConfig
from remotefs.credentials import check_headers, has_key
from remotefs.errors import UsageError
from remotefs.keys import check_key_file
from remotefs.setting_sources import default_file

CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, kw_only=True)
class SettingFacts:
    """What the settings say; `config` is None where they are refused, and `refusal` says why."""

    file: Path
    is_there: bool = False
    config: Config | None = None
    refusal: str = ""
    told: tuple[str, ...] = ()
    # Where the key comes from, and why it cannot be used.
    key_source: str = ""
    key_trouble: str = ""
    # The proxy that requests to the service go through, without its user and password.
    proxy: str | None = None
    missing_certificates: tuple[str, ...] = ()


def look(environ: Mapping[str, str], file: Path | None, profile: str | None) -> SettingFacts:
    """Return what the settings say."""
    told: list[str] = []
    used = file or default_file()
    try:
        config = load_settings(environ, file, {}, told.append, profile)
    except UsageError as error:
        return SettingFacts(file=used, is_there=used.is_file(), refusal=str(error))
    return SettingFacts(
        file=used,
        is_there=used.is_file(),
        config=config,
        told=tuple(told),
        key_source=_source_of(config.service),
        key_trouble=_trouble_with_key(config),
        proxy=proxy_for(config.service.base_url),
        missing_certificates=tuple(
            f"{name}={environ[name]}"
            for name in CERTIFICATE_VARIABLES
            if name in environ and not Path(environ[name]).exists()
        ),
    )


def judge(facts: SettingFacts) -> Iterator[Finding]:
    """Yield what is to say of the settings: pure."""
    if facts.config is None:
        yield problem("settings", facts.refusal, "correct that place; docs/configuration.md has all settings")
        return
    yield ok("settings", f"{facts.file}" if facts.is_there else f"defaults (there is no {facts.file})")
    for sentence in facts.told:
        yield warning("settings", sentence)
    yield from _key(facts, facts.config)
    yield ok("service", facts.config.service.base_url)
    if facts.proxy is not None:
        yield ok("proxy", f"requests go through {facts.proxy}, as the variables say; NO_PROXY can except addresses")
    for given in facts.missing_certificates:
        yield problem("certificates", f"{given} does not exist", "name a file of certificate authorities, or unset it")


def _key(facts: SettingFacts, config: Config) -> Iterator[Finding]:
    service = config.service
    if not has_key(service):
        advice = "set ANTHROPIC_API_KEY, or use `remotefs mount --local` for a server of your own"
        yield warning("key", "there is no key", advice)
        return
    if facts.key_trouble:
        yield problem("key", facts.key_trouble, f"correct its source: {facts.key_source}")
        return
    what = "a token" if service.api_key is None and service.auth_token is not None else "a key"
    yield ok("key", f"{what} from {facts.key_source} (not shown)")


def _source_of(service: ServiceConfig) -> str:
    """Return where the key comes from; empty where there is none."""
    if service.key_file is not None:
        return service.key_file
    if service.key_command is not None:
        return f"the command {service.key_command[0]}"
    if service.key_credential is not None:
        return f"the credential {service.key_credential}"
    given = service.api_key or service.auth_token
    return given.origin or "" if given is not None else ""


def _trouble_with_key(config: Config) -> str:
    """Return why the key cannot be used; empty where nothing is known against it. Runs no command."""
    try:
        check_headers(config.service)
        check_key_file(config.service)
    except UsageError as error:
        return str(error)
    return ""


def proxy_for(base_url: str) -> str | None:
    """Return the proxy of an address as httpx would choose it, without a user and a password."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    proxies = proxies_in_environment()
    excepted = [pattern.removeprefix("all://").lstrip("*") for pattern, proxy in proxies.items() if proxy is None]
    if host in _LOOPBACK or any(host == name or host.endswith(f".{name.lstrip('.')}") for name in excepted):
        return None
    proxy = proxies.get(f"{parts.scheme}://") or proxies.get("all://")
    if proxy is None:
        return None
    address = urlsplit(proxy)
    return f"{address.scheme}://{address.hostname or '?'}{f':{address.port}' if address.port else ''}"
