"""A study with secure aggregation for tests: real agents, real masks, and a transport that loses what it is told to lose."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from aggregator.checkpoints import CheckpointStore
from aggregator.coordinator import OnRound, run_study
from aggregator.tracking import NullTracker
from aggregator.transport import SiteReply
from experiments.engines.inline import InlineTransport
from experiments.identities import make_identities, public_keys
from federation.protocol.messages import Envelope, read_envelope
from federation.study.manifest import StudyManifest
from federation.study.result import StudyResult
from site_client.agent import SiteAgent
from site_client.patients import SiteData
from site_client.site_folder import SiteFolder, write_patients
from tests.small_study import manifest_data, patients

SITES = ("east", "north", "south", "west")
MASKED = {"value_range": 10.0, "norm_bound": 10.0, "threshold": 3, "rounds_per_agreement": 2, "attempts": 3}
Loses = Callable[[str, Envelope], bool]


def masked_manifest(folder: Path, **changes: object) -> StudyManifest:
    """Four sites, of which three must be left; keys for two rounds at a time."""
    keys = public_keys(make_identities(SITES, folder / "identities", seed=3, provenance="synthetic"))
    roster = [
        {"site": site, "weight": 10.0 * (n + 1), "training_patients": 40, "public_key": keys[site]}
        for n, site in enumerate(SITES)
    ]
    data = manifest_data(roster=roster, evaluation={"release": "sum"})
    data |= {"aggregation": {"mode": "masked", "quorum": 3, "masked": MASKED}}
    return StudyManifest.from_data(data | changes)


def site_data(site: str) -> SiteData:
    import numpy as np

    generator = np.random.default_rng([5, SITES.index(site)])
    return SiteData(site=site, training=patients(generator, 40), test=patients(generator, 30))


def folders(folder: Path, study: StudyManifest) -> dict[str, SiteFolder]:
    found = {}
    identities = make_identities(SITES, folder / "identities", seed=3, provenance="synthetic")
    for site in SITES:
        path = folder / "patients" / f"{site}.safetensors"
        if not path.is_file():
            write_patients(path, site_data(site))
        found[site] = SiteFolder.create(
            folder / "sites" / site, site=site, manifest=study, patients=path, seed=7, identity=identities[site]
        )
    return found


def agents(folder: Path, study: StudyManifest) -> dict[str, SiteAgent]:
    return {site: SiteAgent(entry) for site, entry in folders(folder, study).items()}


class Lossy:
    """A transport over real agents.

    Args:
        found: The agents.
        loses: (site, request) to whether the site never sees it.
        loses_reply: (site, request) to whether the site answers and its answer never arrives.
    """

    def __init__(
        self,
        found: Mapping[str, SiteAgent],
        *,
        loses: Loses = lambda *_: False,
        loses_reply: Loses = lambda *_: False,
    ) -> None:
        self.inline = InlineTransport({site: agent.handle for site, agent in found.items()})
        self.loses, self.loses_reply = loses, loses_reply
        self.seen: list[tuple[str, Envelope, Envelope]] = []

    def exchange(self, requests: Mapping[str, bytes]) -> Iterator[SiteReply]:
        asked = {site: read_envelope(content) for site, content in requests.items()}
        for site, content in requests.items():
            if self.loses(site, asked[site]):
                yield SiteReply(site, None, "deadline")
                continue
            (reply,) = self.inline.exchange({site: content})
            if self.loses_reply(site, asked[site]):
                yield SiteReply(site, None, "deadline")
                continue
            self.seen.append((site, asked[site], read_envelope(reply.content)))
            yield reply

    def close(self) -> None:
        """Nothing to close."""


def run(study: StudyManifest, folder: Path, transport: Lossy, *, on_round: OnRound = lambda _: None) -> StudyResult:
    return run_study(
        study,
        transport,
        NullTracker(),
        checkpoints=CheckpointStore(folder / "coordinator", study=study.digest),
        clock=itertools.count().__next__,
        on_round=on_round,
    )
