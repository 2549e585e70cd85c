from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def machines_certificates(trusted_before: str | None) -> Iterator[None]:
    """Packages come from where this machine gets them: what it trusts is trusted here, too."""
    with pytest.MonkeyPatch.context() as environment:
        if trusted_before is None:
            environment.delenv("SSL_CERT_FILE")
        else:
            environment.setenv("SSL_CERT_FILE", trusted_before)
        yield
