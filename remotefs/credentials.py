"""The key, the token and the headers that sign requests in: which are in use, can be sent, and must be hidden.

One rule says which texts are secret, for the messages that quote a reply (`api/refusals.py`) and for the log
(`cli/launch/logs.py`): the key and the token, and a header's value from eight characters on. A shorter value is a flag
or a version such as `1`; hiding it would garble every text that holds that character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from remotefs.config import Secret, ServiceConfig
from remotefs.errors import UsageError

HIDDEN = "[hidden]"
_MIN_HEADER_CHARACTERS = 8
# What a header's name and value may consist of (RFC 9110, sections 5.1 and 5.5).
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")


def has_key(service: ServiceConfig) -> bool:
    """Return whether there is a source of a key or a token to sign in with."""
    given = (service.api_key, service.auth_token, service.key_file, service.key_command, service.key_credential)
    return any(one is not None for one in given)


class KeyRing:
    """The credentials in use, and every secret that this process has seen: those of before stay hidden too.

    `reread` returns the settings as they are now, with the key from its source (blocking); None: the key cannot change.
    `remember` notes that the second settings are for the account of the first (blocking).
    """

    def __init__(
        self,
        service: ServiceConfig,
        reread: Callable[[], ServiceConfig] | None = None,
        remember: Callable[[ServiceConfig, ServiceConfig], None] = lambda _, __: None,
    ) -> None:
        self._service = service
        self._reread = reread
        self._remember = remember
        self._secrets = list(secrets_of(service))
        self._former = service
        # How many times another key was taken into use.
        self.generation = 0

    @property
    def service(self) -> ServiceConfig:
        """Return the settings of the service with the credentials in use."""
        return self._service

    @property
    def secrets(self) -> Sequence[str]:
        """Return the texts that no message, log or file may show: the same list always, to which later keys are added.

        So those who hide them are given it once.
        """
        return self._secrets

    @property
    def can_change(self) -> bool:
        """Return whether there may be another key at its source."""
        return self._reread is not None

    def read_again(self) -> ServiceConfig | None:
        """Return settings with another key than the one in use, None where it is the same. Blocking.

        Raises UsageError and LocalError as the settings and the key's source do; UsageError for a key of another
        service: it is not for the one of this run.
        """
        found = self._reread() if self._reread is not None else self._service
        self._secrets[:] = _longest_first({*self._secrets, *secrets_of(found)})
        if _signs(found) == _signs(self._service):
            return None
        if (found.base_url, found.workspace_id) != (self._service.base_url, self._service.workspace_id):
            raise UsageError("the settings name another address or workspace now: a new mount takes them in")
        return found

    def take(self, found: ServiceConfig) -> None:
        """Use the credentials that `read_again` has found from now on."""
        self._service, self._former = found, self._service
        self.generation += 1

    def note_taken(self) -> None:
        """Note for the next run whose the key in use is, after `take`. Blocking. Raises LocalError."""
        self._remember(self._former, self._service)


def _signs(service: ServiceConfig) -> tuple[object, ...]:
    return service.api_key, service.auth_token, service.custom_headers


def secrets_of(service: ServiceConfig) -> tuple[str, ...]:
    """Return the texts that no message, log or file may show, even where a reply contains them."""
    keys = [key.reveal() for key in (service.api_key, service.auth_token) if key is not None]
    values = [value.reveal() for _, value in service.custom_headers]
    return _longest_first({*filter(None, keys), *(value for value in values if len(value) >= _MIN_HEADER_CHARACTERS)})


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return the secrets in the order to hide them: one may contain another, and nothing of the longer one may stay."""
    return tuple(sorted(secrets, key=len, reverse=True))


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
        (f"the key in {_origin(service.api_key, 'ANTHROPIC_API_KEY')}", service.api_key),
        (f"the token in {_origin(service.auth_token, 'ANTHROPIC_AUTH_TOKEN')}", service.auth_token),
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
        what = f"key in {_origin(service.api_key, 'ANTHROPIC_API_KEY')}"
    elif service.auth_token is not None:
        what = f"token in {_origin(service.auth_token, 'ANTHROPIC_AUTH_TOKEN')}"
    else:
        return "no key was sent: set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), or key_file in the settings"
    return f"check the {what}, and that it belongs to {service.base_url}"


def _origin(secret: Secret | None, usual: str) -> str:
    return usual if secret is None or secret.origin is None else secret.origin
