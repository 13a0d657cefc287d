"""Faults in the ledger, the release desk, the release gate, paid evaluation and the agent."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_LEDGER: Final = "site_client/ledger/ledger.py"
_CHAIN: Final = "site_client/ledger/chain.py"
_STORE: Final = "site_client/ledger/store.py"
_DESK: Final = "site_client/release_desk.py"
_GATE: Final = "site_client/release_gate.py"
_PAID: Final = "site_client/paid_evaluation.py"
_AGENT: Final = "site_client/agent.py"
_FOLDER: Final = "site_client/site_folder.py"
_OF_LEDGER: Final = "tests/site_client/ledger/test_ledger.py"
_OF_STORE: Final = "tests/site_client/ledger/test_store.py"
_OF_WITNESS: Final = "tests/site_client/ledger/test_witness.py"
_OF_CHAIN: Final = "tests/site_client/ledger/test_verification.py"
_OF_DESK: Final = "tests/site_client/test_release_desk.py"
_OF_GATE: Final = "tests/site_client/test_release_gate.py"
_OF_PAID: Final = "tests/site_client/test_paid_evaluation.py"
_OF_AGENT: Final = "tests/site_client/test_agent.py"
_REPLAY: Final = "tests/replay/test_agent.py"
_LEAKS: Final = "tests/privacy_leaks/test_exceptions.py"

MUTANTS: Final = (
    Mutant(
        "the cap not asked",
        _LEDGER,
        "if not self._cap.admits(state.spent, charge):",
        "if not self._cap.admits(charge, charge):",
        (_OF_LEDGER,),
    ),
    Mutant(
        "reservation not idempotent",
        _LEDGER,
        "            if known is not None:\n                if known.request",
        "            if known is not None and known.state == 'sent':\n                if known.request",
        (_OF_LEDGER,),
    ),
    Mutant(
        "one release answers any request",
        _LEDGER,
        "if known.request != request or self._journal.reserved(known.sequence).events != tuple(events):",
        "if self._journal.reserved(known.sequence).events != tuple(events):",
        (_OF_LEDGER,),
    ),
    Mutant(
        "other events for the same release",
        _LEDGER,
        "if known.request != request or self._journal.reserved(known.sequence).events != tuple(events):",
        "if known.request != request:",
        (_OF_LEDGER,),
    ),
    Mutant(
        "a release without events is free",
        _LEDGER,
        "        if not events:\n            raise refusals.without_events(release)\n",
        "",
        (_OF_LEDGER,),
    ),
    Mutant(
        "computed hash not checked",
        _LEDGER,
        "if known.released not in {None, released}:",
        "if known.released is not None and len(known.released) != len(released):",
        (_OF_LEDGER,),
    ),
    Mutant(
        "sent before it is computed",
        _LEDGER,
        '            if known.state == "reserved":\n                raise refusals.not_computed(known)\n',
        "",
        (_OF_LEDGER,),
    ),
    Mutant(
        "witness ignored",
        _LEDGER,
        "if row is not None and row.entry_hash.hex() == head.entry_hash:",
        "if row is None or row.entry_hash.hex() != head.entry_hash or head.entry_hash:",
        (_OF_WITNESS,),
    ),
    Mutant(
        "witnessed number without its hash",
        _LEDGER,
        "if row is not None and row.entry_hash.hex() == head.entry_hash:",
        "if row is not None:",
        (_OF_WITNESS,),
    ),
    Mutant(
        "anybody can lock a ledger",
        _LEDGER,
        "head.population != self.terms.population or not head.is_genuine():",
        "head.population != self.terms.population:",
        (_OF_WITNESS,),
    ),
    Mutant(
        "a locked ledger goes on",
        _LEDGER,
        "            self._check_lock(state)\n            yield state",
        "            yield state",
        (_OF_WITNESS,),
    ),
    Mutant(
        "an entry's hash not checked",
        _CHAIN,
        "if row.entry_hash != chained(self.entry_hash, row.body):",
        "if len(row.entry_hash) != len(chained(self.entry_hash, row.body)):",
        (_OF_CHAIN,),
    ),
    Mutant(
        "a charge forgotten in the sum",
        _CHAIN,
        "if entry.spent_after != add(self.spent, entry.charge):",
        "if len(entry.spent_after) != len(self.spent):",
        (_OF_CHAIN,),
    ),
    Mutant(
        "commits not on the disk",
        _STORE,
        '"synchronous": ("FULL", 2),',
        '"synchronous": ("OFF", 0),',
        (_OF_STORE,),
    ),
    Mutant(
        "entries may be deleted",
        _STORE,
        "CREATE TRIGGER entries_never_go BEFORE DELETE ON entries\"\n    \" BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END",
        'CREATE TRIGGER entries_never_go BEFORE DELETE ON entries"\n    " BEGIN SELECT 1; END',
        (_OF_STORE,),
    ),
    Mutant(
        "charge after compute",
        _DESK,
        "        reservation = self.ledger.reserve(study=self.study, release=name, request=identity, events=events)\n"
        "        if reservation.released is None:\n"
        "            reply = kept if kept is not None else self._computed(name, identity, compute, check)\n",
        "        early = kept if kept is not None else self._computed(name, identity, compute, check)\n"
        "        reservation = self.ledger.reserve(study=self.study, release=name, request=identity, events=events)\n"
        "        if reservation.released is None:\n"
        "            reply = early\n",
        (_OF_DESK,),
    ),
    Mutant(
        "a lost reply computed anew",
        _DESK,
        "        elif kept is None or hashlib.sha256(kept).hexdigest() != reservation.released:\n",
        "        elif kept is None:\n"
        "            reply = self._computed(name, identity, compute, check)\n"
        "        elif hashlib.sha256(kept).hexdigest() != reservation.released:\n",
        (_OF_DESK,),
    ),
    Mutant(
        "other bytes than recorded may leave",
        _DESK,
        "elif kept is None or hashlib.sha256(kept).hexdigest() != reservation.released:",
        "elif kept is None:",
        (_OF_DESK,),
    ),
    Mutant(
        "uncharged output",
        _DESK,
        "            if events:\n                raise InternalError(",
        "            if events and name.startswith('prepare'):\n                raise InternalError(",
        (_OF_DESK,),
    ),
    Mutant(
        "the gate left open",
        _DESK,
        "        check(reply)\n",
        "",
        (_OF_DESK,),
    ),
    Mutant(
        "the witness's head not shown to the ledger",
        _DESK,
        "            self.ledger.witness(head)\n",
        "            head.is_genuine()\n",
        (_OF_DESK,),
    ),
    Mutant(
        "the reply not tied to its request",
        _FOLDER,
        "if content[:_DIGEST_BYTES].hex() != request:",
        "if len(content[:_DIGEST_BYTES].hex()) != len(request):",
        (_OF_AGENT, _OF_DESK),
    ),
    Mutant(
        "less noise than agreed passes the gate",
        _GATE,
        "    if header.event != agreed:\n",
        "    if (header.event is None) != (agreed is None):\n",
        (_OF_GATE,),
    ),
    Mutant(
        "unlisted arrays pass the gate",
        _GATE,
        "    if found != expected:\n",
        "    if not set(expected) <= set(found):\n",
        (_OF_GATE,),
    ),
    Mutant(
        "fractions pass the gate",
        _GATE,
        "    if is_whole and agreed is not None:\n        _check_whole(reply)\n",
        "",
        (_OF_GATE,),
    ),
    Mutant(
        "exact counts released",
        _PAID,
        "noisy_counts(exact, mechanism=event, generator=generator))",
        "exact)",
        (_OF_PAID, _REPLAY),
    ),
    Mutant(
        "every record of a patient counts",
        _PAID,
        "return np.flatnonzero(rank < most)",
        "return np.flatnonzero(rank >= 0)",
        (_OF_PAID, _REPLAY),
    ),
    Mutant(
        "subgroups not in the sensitivity",
        "federation/study/agreements.py",
        "return self.max_records_per_patient**2 * (1 + len(self.subgroups))",
        "return self.max_records_per_patient**2",
        (_OF_PAID, _REPLAY),
    ),
    Mutant(
        "sensitivity too small: records of one patient in one cell",
        "federation/study/agreements.py",
        "return self.max_records_per_patient**2 * (1 + len(self.subgroups))",
        "return self.max_records_per_patient * (1 + len(self.subgroups))",
        (_OF_PAID, _REPLAY),
    ),
    Mutant(
        "exception text on the wire",
        _AGENT,
        "return self._refusal(InternalError.__name__)",
        'return self._refusal("".join(filter(str.isalpha, str(__import__("sys").exception())))[:60])',
        (_LEAKS,),
    ),
)
