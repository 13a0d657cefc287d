"""Sums that nobody can open any more: their round is left without a result, and the study gets on with the sites that are there.

Once the survivors of a sum were asked for their shares, it is that sum or none: the difference of two sums of one round would be
one site's own numbers. If these survivors never come back, waiting for them would stop the study for good, with enough other sites
at hand. So a sum is left when several runs of the study asked in vain *and* enough sites agreed on new keys just now. A later round
is a new release, charged for itself, and not a second sum of the same numbers.

What is written, in this order: how many runs asked in vain, the new keys, that the sum is left, the keys' use. A crash in between
repeats a step; a sum that was left is never asked for again.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.asked_sums import AskedSum, read_record, write_record
from aggregator.opened_sums import OpenedSums
from aggregator.secure_sums import SecureSums
from aggregator.sum_requests import OpenedSum, SumRequest
from federation.durable_files import write_durably
from federation.errors import CheckpointError, QuorumError, SecureSumError

_LOG: Final = logging.getLogger("cohortium.secure_sums")
RUNS: Final = 3
"""Runs of the study that ask for the same shares in vain before a sum is left. A deployed study runs again after 30 seconds."""
IN_A_ROW: Final = 3
"""Sums of one purpose that are left one after the other, at most: more is not the network, and the budget would go for nothing."""
_TRAINING: Final = "train"
_MAY_MEND: Final = frozenset({"too_few_survivors", "too_few_signatures", "too_few_answers"})
"""Reasons that are absence. A site that dealt wrong shares would spoil the next round as well."""


@dataclass(frozen=True)
class LeftSum:
    """A sum that was left.

    Args:
        survivors: Sites whose numbers are in it. They paid for them.
        dropouts: The other sites that are known not to be in it, with the reason.
    """

    survivors: tuple[str, ...]
    dropouts: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Why there is no result, in words for the report."""
        return f"its sum was never opened: too few of {', '.join(self.survivors)} were there to open it"


class LeavableSums:
    """Secure sums of rounds without which a study can go on.

    Args:
        sums: That are taken.
        folder: Theirs.
    """

    def __init__(self, sums: SecureSums, folder: Path) -> None:
        self._sums, self._folder = sums, folder
        self._opened = OpenedSums(folder)

    def sum(self, request: SumRequest) -> OpenedSum | LeftSum:
        """Take one sum, or leave it.

        Raises:
            QuorumError: If it cannot be opened now and is not left: because other attempts at it are possible, fewer than
                :data:`RUNS` runs asked, too few sites are there, or :data:`IN_A_ROW` were left before it.
            CheckpointError: If a file of the sum is not as it was written.
        """
        left = self._left(request)
        if left.is_file():
            return self._read(left, request)
        kept = self._opened.find(request)
        if kept is not None:
            asked = self._sums.asked(request)
            if asked is not None:
                AskedSum.read(asked).show_to(request.keeper)
            return kept
        try:
            opened = self._sums.sum(request)
        except QuorumError as failure:
            given_up = self._leave(request) if self._is_hopeless(request, failure) else None
            if given_up is None:
                raise
            return given_up
        if request.purpose == _TRAINING:
            self._opened.keep(request, opened)
        return opened

    def _leave(self, request: SumRequest) -> LeftSum | None:
        """Leave a sum, if enough sites for another can be reached; ``None``: wait for all of them."""
        asked = self._sums.asked(request)
        if asked is None:
            return None
        record = AskedSum.read(asked)
        survivors = record.survivors
        dropouts = {site: why for site, why in self._sums.dropouts.items() if site not in survivors}
        try:
            batch = self._sums.agree_again(request)
        except SecureSumError:
            return None
        record.show_to(request.keeper)
        found = LeftSum(survivors, dropouts)
        write_record(self._left(request), {"asked": asked.name, "survivors": list(survivors), "dropouts": dropouts})
        self._sums.use(batch)
        _LOG.warning("round %d, %s: %s", request.round_number, request.purpose, found.reason)
        return found

    def _is_hopeless(self, request: SumRequest, failure: QuorumError) -> bool:
        asked = self._sums.asked(request)
        if asked is None or failure.facts.get("reason") not in _MAY_MEND:
            return False
        counter = asked.with_suffix(".in_vain")
        said = counter.read_text(encoding="ascii", errors="replace") if counter.is_file() else ""
        runs = 1 + (int(said) if said.isdigit() else 0)
        write_durably(counter, str(runs).encode())
        return runs >= RUNS and not self._were_left(request)

    def _were_left(self, request: SumRequest) -> bool:
        """Whether the sums of this purpose just before this one were all left."""
        pattern = re.compile(rf"{re.escape(request.purpose)}-(\d{{6}})(?:-\d+\.asked|\.left)")
        found: dict[int, bool] = {}
        for path in self._folder.iterdir():
            if match := pattern.fullmatch(path.name):
                found[int(match[1])] = found.get(int(match[1]), False) or path.suffix == ".left"
        before = sorted(number for number in found if number < request.round_number)[-IN_A_ROW:]
        return len(before) == IN_A_ROW and all(found[number] for number in before)

    def _left(self, request: SumRequest) -> Path:
        return self._folder / f"{request.purpose}-{request.round_number:06d}.left"

    def _read(self, path: Path, request: SumRequest) -> LeftSum:
        content = read_record(path)
        if content is None:
            raise CheckpointError(
                f"expected the record of a sum that was left in {path}, got other bytes",
                remedy="restore the file: without it the round's sum would be asked for again",
            )
        AskedSum.read(self._folder / content["asked"]).show_to(request.keeper)
        return LeftSum(tuple(content["survivors"]), dict(content["dropouts"]))
