"""How much one site may ask of the gate, and what the gate has counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aggregator.host.home import GateLimits


@dataclass
class _Account:
    """Of one site: tokens left, when they were last counted, and requests under way."""

    tokens: float
    counted_at: float
    in_flight: int = 0


class SiteLimits:
    """A token bucket and a number of requests under way, per site. Sites are members, so there are boundedly many.

    Args:
        limits: What is allowed.
        clock: Monotonic seconds.
    """

    def __init__(self, limits: GateLimits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    @contextmanager
    def admit(self, site: str) -> Generator[str]:
        """Count one request of a site while it is under way.

        Yields:
            Why it is refused: ``rate``, ``in_flight``, or empty if it is let in.
        """
        account = self._refilled(site)
        if account.tokens < 1.0:
            yield "rate"
            return
        account.tokens -= 1.0
        if account.in_flight >= self._limits.in_flight:
            yield "in_flight"
            return
        account.in_flight += 1
        try:
            yield ""
        finally:
            account.in_flight -= 1

    def _refilled(self, site: str) -> _Account:
        now = self._clock()
        account = self._accounts.setdefault(site, _Account(float(self._limits.burst), now))
        earned = (now - account.counted_at) * self._limits.requests_per_second
        account.tokens = min(float(self._limits.burst), account.tokens + earned)
        account.counted_at = now
        return account


@dataclass
class GateCounts:
    """What happened at the gate since its process began."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter[tuple[str, str, int]])
    """(site, route, status) to requests."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """Reason code to refusals, of connections and of requests."""
    received: Counter[str] = field(default_factory=Counter[str])
    """Site to bytes of bodies."""
    sent: Counter[str] = field(default_factory=Counter[str])
    """Site to bytes of answers."""
    connections: int = 0
    """Open now, handshakes included."""

    def as_metrics(self) -> list[str]:
        """Lines of Prometheus's text format."""
        lines = ["# TYPE cohortium_gate_requests_total counter"]
        for (site, route, status), number in sorted(self.requests.items()):
            lines.append(f'cohortium_gate_requests_total{{site="{site}",route="{route}",status="{status}"}} {number}')
        lines.append("# TYPE cohortium_gate_refused_total counter")
        lines += [
            f'cohortium_gate_refused_total{{reason="{reason}"}} {number}'
            for reason, number in sorted(self.refused.items())
        ]
        for name, counts in (("received", self.received), ("sent", self.sent)):
            lines.append(f"# TYPE cohortium_gate_bytes_{name}_total counter")
            lines += [
                f'cohortium_gate_bytes_{name}_total{{site="{site}"}} {number}'
                for site, number in sorted(counts.items())
            ]
        return [*lines, "# TYPE cohortium_gate_connections gauge", f"cohortium_gate_connections {self.connections}"]
