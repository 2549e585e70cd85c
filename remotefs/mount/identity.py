"""Asks the service whose key it is."""

from __future__ import annotations

from remotefs.api.budget import Budget, Priority
from remotefs.api.client import Client
from remotefs.api.models import Account
from remotefs.config import Config


async def identify(config: Config) -> Account:
    """Return the account of the key, by one request. Raises RefusedError, TransportError."""
    async with Client(config.service, Budget.for_service(config.service)) as client:
        await client.list_page(None, priority=Priority.FIRST_LISTING, limit=1)
        return client.account or Account(None, None)
