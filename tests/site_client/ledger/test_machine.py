"""Any sequence of calls, through two handles on one file, against an obvious model: a list of what was charged."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from federation.errors import BudgetExhaustedError, LedgerLockedError, PrivacyRefusedError
from federation.privacy.accounting import epsilon_of
from federation.privacy.events import DiscreteGaussian, DiscreteLaplace, SubsampledGaussian
from federation.protocol.ledger_head import LedgerHead
from federation.protocol.signatures import SigningKey
from site_client.ledger.key_file import key_path
from tests.site_client.ledger.conftest import MEMORY
from tests.site_client.ledger.ledger_cases import DELTA, assert_sound, content, digest, make, open_again

CAP = 2.0
EVENTS = (
    (SubsampledGaussian(noise_multiplier=1.2, sampling_numerator=2**53 // 20, steps=10),),
    (DiscreteGaussian(sensitivity_squared=2, variance=60),),
    (DiscreteLaplace(sensitivity=1, scale=12), DiscreteGaussian(sensitivity_squared=1, variance=500)),
    (DiscreteLaplace(sensitivity=2, scale=1),),
    (),
)
HANDLES = st.integers(0, 1)
STUDIES = st.sampled_from(("heart", "kidney"))
NUMBERS = st.integers(0, 4)
HASHES = st.sampled_from((digest("a"), digest("b")))


class Releases(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.path = self.folder / "ledger.sqlite"
        make(self.path, cap=CAP).close()
        self.handles = [open_again(self.path), open_again(self.path)]
        self.known: dict[tuple[str, str], dict] = {}
        self.charged: list = []
        self.heads: list[LedgerHead] = []
        self.is_locked = False

    def teardown(self) -> None:
        for handle in self.handles:
            handle.close()
        assert_sound(self.path)
        shutil.rmtree(self.folder)

    def refuses(self, kind: type[Exception], call) -> None:
        before = content(self.path)
        try:
            call()
        except kind:
            assert content(self.path) == before
        else:
            raise AssertionError(f"expected {kind.__name__}")

    @rule(handle=HANDLES, study=STUDIES, number=NUMBERS, events=st.sampled_from(EVENTS), request=HASHES)
    def reserve(self, handle, study, number, events, request):
        name = (study, f"train/{number}")
        known = self.known.get(name)

        def call():
            return self.handles[handle].reserve(study=study, release=name[1], request=request, events=events)

        if not events:
            self.refuses(PrivacyRefusedError, call)
        elif self.is_locked:
            self.refuses(LedgerLockedError, call)
        elif known is not None and (known["request"], known["events"]) != (request, events):
            self.refuses(PrivacyRefusedError, call)
        elif known is None and epsilon_of([*self.charged, *events], delta=DELTA) > CAP:
            self.refuses(BudgetExhaustedError, call)
        else:
            if known is None:
                self.charged.extend(events)
                self.known[name] = {"request": request, "events": events, "state": "reserved", "released": None}
            assert (call().state, call().released) == (self.known[name]["state"], self.known[name]["released"])

    @precondition(lambda self: self.known)
    @rule(handle=HANDLES, data=st.data(), released=HASHES)
    def compute(self, handle, data, released):
        reservation, known = self.pick(data)

        def call():
            return self.handles[handle].computed(reservation, released)

        if self.is_locked:
            self.refuses(LedgerLockedError, call)
        elif known["released"] not in {None, released}:
            self.refuses(PrivacyRefusedError, call)
        else:
            if known["released"] is None:
                known.update(state="computed", released=released)
            assert (call().state, call().released) == (known["state"], released)

    @precondition(lambda self: self.known)
    @rule(handle=HANDLES, data=st.data())
    def send(self, handle, data):
        reservation, known = self.pick(data)

        def call():
            return self.handles[handle].sent(reservation)

        if self.is_locked:
            self.refuses(LedgerLockedError, call)
        elif known["state"] == "reserved":
            self.refuses(PrivacyRefusedError, call)
        else:
            known["state"] = "sent"
            assert call().state == "sent"

    @precondition(lambda self: not self.is_locked)
    @rule(handle=HANDLES)
    def give_a_head(self, handle):
        self.heads.append(self.handles[handle].head())

    @precondition(lambda self: not self.is_locked)
    @rule(handle=HANDLES)
    def show_every_head(self, handle):
        for head in self.heads:
            self.handles[handle].witness(head)

    @rule(handle=HANDLES)
    def open_anew(self, handle):
        self.handles[handle].close()
        self.handles[handle] = open_again(self.path)

    @precondition(lambda self: not self.is_locked and len(self.known) > 4)
    @rule(handle=HANDLES)
    def show_a_head_from_elsewhere(self, handle):
        key = SigningKey.from_bytes(key_path(self.path).read_bytes())
        head = LedgerHead.signed(key, population="cardiology", sequence=2, entry_hash="0" * 64)
        self.is_locked = True
        try:
            self.handles[handle].witness(head)
        except LedgerLockedError:
            return
        raise AssertionError("expected a lock")

    @invariant()
    def what_is_spent_is_what_was_charged(self):
        spent = epsilon_of(self.charged, delta=DELTA)
        assert spent <= CAP
        for handle in self.handles:
            assert handle.status().epsilon_spent == spent
            for (study, release), known in self.known.items():
                assert handle.find(study, release).state == known["state"]

    def pick(self, data):
        study, release = data.draw(st.sampled_from(sorted(self.known)))
        return self.handles[0].find(study, release), self.known[study, release]


Releases.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestReleases = Releases.TestCase
