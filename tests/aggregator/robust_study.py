"""A small study of seven sites in mode ``open_robust``, and replies of its sites."""

import numpy as np

from aggregator.rounds import collect_updates
from aggregator.transport import SiteReply
from federation.protocol.messages import Envelope, TrainReply
from tests.small_study import manifest

SITES = tuple(f"site-{number}" for number in range(7))
LENGTH = 5


def robust_manifest(rule=None, *, byzantine=2, quorum=5, sites=SITES, **changes):
    fields = {"norm_bound": changes.pop("norm_bound", 10.0), "beyond_bound": changes.pop("beyond_bound", "exclude")}
    spec = {"rule": rule or {"kind": "trimmed_mean"}, "byzantine": byzantine, **fields}
    roster = [{"site": site, "weight": 1.0 + n, "training_patients": 40} for n, site in enumerate(sites)]
    aggregation = {"mode": "open_robust", "quorum": quorum, "robust": spec}
    return manifest(aggregation=aggregation, roster=roster, **changes)


def honest(number):
    return np.full(LENGTH, 1.0 + 0.125 * number, dtype=np.float32)


def reply(study, site, update, *, event=None, head=None, **more):
    header = TrainReply(study=study.digest, site=site, round_number=1, event=event, head=head)
    return Envelope(header, {"update": update, **more}).to_bytes()


class Answers:
    """A transport whose sites answer with these updates; ``None``: not at all."""

    def __init__(self, contents):
        self._contents = contents

    def exchange(self, requests):
        for site in requests:
            content = self._contents[site]
            yield SiteReply(site, content, "" if content is not None else "deadline")

    def close(self):
        pass


def collect(study, lies):
    """One round; the sites in ``lies`` send that update, and the others honest ones."""
    updates = {
        entry.site: lies.get(entry.site, honest(number)) if entry.site in lies else honest(number)
        for number, entry in enumerate(study.roster)
    }
    contents = {
        site: None if update is None else reply(study, site, np.asarray(update)) for site, update in updates.items()
    }
    return collect_updates(
        study, Answers(contents), round_number=1, parameters=np.zeros(LENGTH, dtype=np.float32), broadcast={}
    )
