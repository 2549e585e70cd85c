"""The end of a mount: `umount`, and `takeover` by the next mount of a state folder."""

from __future__ import annotations

from remotefs.control.messages.base import DrainResult, Endpoint, Message, Nothing


class UmountParams(Message, frozen=True):
    """Drain for at most `timeout_s`, then unmount whatever is left."""

    timeout_s: float


class TakeoverResult(Message, frozen=True):
    """`yielding` is true when the mount was draining and now stops; a mount in use goes on and says false."""

    yielding: bool


UMOUNT = Endpoint("umount", UmountParams, DrainResult)
TAKEOVER = Endpoint("takeover", Nothing, TakeoverResult)
