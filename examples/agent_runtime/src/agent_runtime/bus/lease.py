"""The right to be the one primary, held in a key-value bucket and lost by silence."""

from __future__ import annotations

import time

from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError

from agent_runtime.bus.errors import BusError, guard_missing
from agent_runtime.stores.consul import Buckets


class Lease:
    """Taken and prolonged by a write that succeeds only if nobody else has written since.

    No clocks are compared: whoever stands by takes the lease over when its revision has not changed for `seconds` of
    its own time. The holder counts as such for `seconds` after the last write it knows of, and a little less, so that
    it steps back before another takes over.
    """

    def __init__(self, bus: Buckets, bucket: str, key: str, owner: str, seconds: float) -> None:
        self._bus, self._bucket, self._key, self._owner, self._seconds = bus, bucket, key, owner, seconds
        self._revision = 0
        self._seen: tuple[int, float] = (0, 0.0)
        self._held_until = 0.0
        self.holder: str | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds the lease now."""
        return time.monotonic() < self._held_until

    async def take(self) -> bool:
        """Take or prolong the lease and tell whether this process holds it. Raises BusError."""
        bucket = await self._bus.bucket(self._bucket)
        started = time.monotonic()
        try:
            entry = await guard_missing(bucket.get(self._key))
            revision, holder = entry.revision or 0, (entry.value or b"").decode()
        except KeyDeletedError as error:
            revision, holder = error.entry.revision or 0, ""
        except KeyNotFoundError:
            revision, holder = 0, ""
        self.holder = holder or None
        if revision != self._seen[0]:
            self._seen = (revision, started)
        mine = holder == self._owner
        if holder and not mine and started - self._seen[1] < self._seconds:
            self._held_until = 0.0
            return False
        try:
            self._revision = await guard_missing(bucket.update(self._key, self._owner.encode(), last=revision))
        except KeyWrongLastSequenceError:
            self._held_until = 0.0
            return False
        except BusError as error:
            if "wrong last sequence" in str(error):
                self._held_until = 0.0
                return False
            raise
        self.holder = self._owner
        self._seen = (self._revision, started)
        self._held_until = started + self._seconds * 0.8
        return True

    async def release(self) -> None:
        """Give the lease up, if this process holds it, so that another need not wait. Raises BusError."""
        if self.held:
            self._held_until = 0.0
            bucket = await self._bus.bucket(self._bucket)
            try:
                await guard_missing(bucket.update(self._key, b"", last=self._revision))
            except KeyWrongLastSequenceError:
                return
