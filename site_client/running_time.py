"""An answer that took far longer than the site allows does not leave: how long a computation runs may say what it met.

The network sees when a reply comes. Within the limit that is out of scope (``docs/security.md``); beyond it nothing but the name of
an error class leaves. What was computed is not kept either, so that the same request is computed again under the same reservation
in the ledger, and leaves if it is in time then: a machine that was suspended costs a repetition, and not a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from federation.errors import PolicyRefusedError
from site_client.home_paths import SiteLayout
from site_client.policy import read_policy

_T = TypeVar("_T")


@dataclass(frozen=True)
class RunningTime:
    """How long an answer may take.

    Args:
        limit: Seconds that are allowed now.
        clock: Monotonic seconds.
    """

    limit: Callable[[], float]
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def of(cls, layout: SiteLayout, *, clock: Callable[[], float] = time.monotonic) -> RunningTime:
        """As the site's policy says, read when it counts. Without a policy nothing is answered anyway."""

        def limit() -> float:
            policy = read_policy(layout.policy)
            return 0.0 if policy is None else float(policy.max_request_seconds)

        return cls(limit, clock)

    def bounded(self, work: Callable[[], _T]) -> _T:
        """What the work returns, unless it took too long.

        Raises:
            PolicyRefusedError: If it did. How long it took is not said.
        """
        began = self.clock()
        found = work()
        limit = self.limit()
        if self.clock() - began > limit:
            raise PolicyRefusedError(
                f"expected an answer within the {limit:.0f} s of this site's policy, got one that took longer",
                remedy="nothing has left: see whether the machine was busy or asleep, or raise max_request_seconds in the policy",
                rules=["max_request_seconds"],
            )
        return found
