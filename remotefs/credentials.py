"""The key, the token and the headers that sign requests in: whether they are there, can be sent, and must be hidden.

One rule says which texts are secret, for the messages that quote a reply (`api/refusals.py`) and for the log
(`cli/launch/logs.py`): the key and the token, and a header's value from eight characters on. A shorter value is a flag
or a version such as `1`; hiding it would garble every text that holds that character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from remotefs.config import Secret, ServiceConfig
from remotefs.errors import UsageError

HIDDEN = "[hidden]"
_MIN_HEADER_CHARACTERS = 8
# What a header's name and value may consist of (RFC 9110, sections 5.1 and 5.5).
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


def has_key(service: ServiceConfig) -> bool:
    """Return whether there is a key or a token to sign in with."""
    return service.api_key is not None or service.auth_token is not None


def secrets_of(service: ServiceConfig) -> tuple[str, ...]:
    """Return the texts that no message, log or file may show, even where a reply contains them."""
    keys = [key.reveal() for key in (service.api_key, service.auth_token) if key is not None]
    values = [value.reveal() for _, value in service.custom_headers]
    # The longest first: one secret may contain another, and nothing of the longer one may stay.
    secret = {*filter(None, keys), *(value for value in values if len(value) >= _MIN_HEADER_CHARACTERS)}
    return tuple(sorted(secret, key=len, reverse=True))


def hide(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without the secrets."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


def check_headers(service: ServiceConfig) -> None:
    """Raise UsageError for a credential that no header can carry, before h11 does: its message would show the value.

    No variable here holds the text of a secret, because a traceback that shows variables would print it too.
    """
    held = [
        ("the key in ANTHROPIC_API_KEY", service.api_key),
        ("the token in ANTHROPIC_AUTH_TOKEN", service.auth_token),
    ]
    if service.workspace_id is not None:
        held.append(("the workspace id", Secret(service.workspace_id)))
    for name, value in service.custom_headers:
        if not _NAME.fullmatch(name):
            raise UsageError("ANTHROPIC_CUSTOM_HEADERS: one of the names is not a header name")
        held.append((f"the value of {name} in ANTHROPIC_CUSTOM_HEADERS", value))
    for what, secret in held:
        if secret is not None and not _VALUE.fullmatch(secret.reveal()):
            raise UsageError(f"{what} is empty or has a character that no header can carry (a line break, a quote?)")


def credential_advice(service: ServiceConfig) -> str:
    """Return what to check after a 401: a sentence that names the setting, never the key."""
    if service.api_key is not None:
        return f"check the key in ANTHROPIC_API_KEY, and that it belongs to {service.base_url}"
    if service.auth_token is not None:
        return f"check the token in ANTHROPIC_AUTH_TOKEN, and that it belongs to {service.base_url}"
    return "no key was sent: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN)"
