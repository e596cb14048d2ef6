"""Circuit breakers: after some failures in a row a peer is left alone for a while, then tried with one call."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class CircuitState(enum.IntEnum):
    """The number is the metric's value."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class CircuitOpenError(Exception):
    """The call was not made: the last ones failed."""


class CircuitBreaker:
    """Counts one peer's failures in a row."""

    def __init__(self, name: str, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._limit, self._seconds, self._clock = name, failures, seconds, clock
        self._failures = 0
        self._opened = 0.0
        self._trying = False
        self.state = CircuitState.CLOSED
        self.openings = 0

    @contextmanager
    def watch(self, *failures: type[BaseException]) -> Iterator[None]:
        """Let a call through, and count it as failed when it raises one of `failures`.

        Raises:
            CircuitOpenError: the circuit is open, or half open with another call already trying.
        """
        if self.state is CircuitState.OPEN and self._clock() - self._opened >= self._seconds:
            self.state = CircuitState.HALF_OPEN
        if self.state is CircuitState.OPEN or (self.state is CircuitState.HALF_OPEN and self._trying):
            raise CircuitOpenError(f"{self.name} failed {self._failures} times in a row")
        trying = self.state is CircuitState.HALF_OPEN
        self._trying = self._trying or trying
        try:
            yield
        except failures:
            self._fail()
            raise
        except BaseException:
            # Neither good nor bad (a cancelled call, say): the next one tries.
            raise
        else:
            self._failures = 0
            self.state = CircuitState.CLOSED
        finally:
            if trying:
                self._trying = False

    def _fail(self) -> None:
        self._failures += 1
        if self.state is CircuitState.HALF_OPEN or self._failures >= self._limit:
            if self.state is not CircuitState.OPEN:
                self.openings += 1
            self.state, self._opened = CircuitState.OPEN, self._clock()


class CircuitBreakers(Collector):
    """One breaker for each peer, and their metrics."""

    def __init__(self, failures: int, seconds: float) -> None:
        self._failures, self._seconds = failures, seconds
        self._breakers: dict[str, CircuitBreaker] = {}

    def find(self, name: str) -> CircuitBreaker:
        """Return a peer's breaker."""
        if name not in self._breakers:
            self._breakers[name] = CircuitBreaker(name, self._failures, self._seconds)
        return self._breakers[name]

    def collect(self) -> Iterator[Metric]:
        """Yield each breaker's state and how often it has opened."""
        states = GaugeMetricFamily("agent_circuit_state", "0 closed, 1 half open, 2 open.", labels=["peer"])
        openings = CounterMetricFamily("agent_circuit_openings", "Times a circuit opened.", labels=["peer"])
        for breaker in self._breakers.values():
            states.add_metric([breaker.name], breaker.state.value)
            openings.add_metric([breaker.name], breaker.openings)
        yield states
        yield openings
