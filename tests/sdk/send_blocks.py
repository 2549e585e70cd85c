"""Run by a vendor's SDK in its own environment: send each content block in a message, then all in one."""

from __future__ import annotations

import json
import sys
from typing import Any

import anthropic


def sent(client: anthropic.Anthropic, blocks: list[Any]) -> str:
    """What the service answers: `ok`, or its refusal."""
    content: list[Any] = [*blocks, {"type": "text", "text": "What is in there?"}]
    try:
        client.messages.create(model="claude", max_tokens=10, messages=[{"role": "user", "content": content}])
    except anthropic.APIStatusError as error:
        return error.message
    return "ok"


def main() -> None:
    given = json.load(sys.stdin)
    client = anthropic.Anthropic(base_url=given["url"], auth_token=given["key"], max_retries=0)
    blocks = given["blocks"]
    json.dump({"each": [sent(client, [block]) for block in blocks], "all": sent(client, blocks)}, sys.stdout)


main()
