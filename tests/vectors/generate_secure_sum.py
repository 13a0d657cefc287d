"""One whole small round with everything that the parties hold and send: ``python -m tests.vectors.generate_secure_sum``.

Four sites, of which one is lost. Sealed parcels differ from run to run, because HPKE draws its own keys, and are left out.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from federation.protocol.secure_sum.collecting import AwaitingKeys
from federation.protocol.secure_sum.contributing import answer_unmask, sign_survivors
from federation.protocol.secure_sum.folding import AwaitingInputs
from federation.protocol.secure_sum.layout import Layout
from federation.protocol.secure_sum.terms import KeyBatch
from tests.federation.protocol.secure_sum.consortium import MODEL, Consortium

VECTORS = Path(__file__).with_name("secure_sum.json")
BATCH = KeyBatch(purpose="train", first_round=7)
UPDATES, STATISTICS, LOST = 5, 2, "site-002"


def vectors() -> dict[str, object]:
    """The golden values."""
    consortium = Consortium.of(4)
    made = consortium.advertise(BATCH, consortium.sites)
    server = AwaitingKeys(terms=consortium.terms, batch=BATCH)
    for _, message in made.values():
        server = server.add(message)
    key_list = server.close()[1]
    ready, held = consortium.agree(BATCH)
    layout = Layout(updates=UPDATES, statistics=STATISTICS)
    inputs = AwaitingInputs.begin(ready, round_number=7, layout=layout, model_hash=MODEL)
    values = {site: [(-1) ** n * (1000 * n + k) for k in range(UPDATES)] for n, site in enumerate(consortium.sites)}
    wide = {site: [2**40 * (n + 1) + k for k in range(STATISTICS)] for n, site in enumerate(consortium.sites)}
    phases, contributions = {}, {}
    for site in consortium.sites:
        phases[site], content = consortium.contribute(
            held[site], np.array(values[site]), round_number=7, statistics=np.array(wide[site])
        )
        contributions[site] = bytes(content)
        if site != LOST:
            inputs = inputs.fold(content)
    signing, announcement = inputs.close()
    staying = [site for site in consortium.sites if site != LOST]
    for site in staying:
        phases[site], message = sign_survivors(phases[site], announcement, signing_key=consortium.keys[site])
        signing = signing.add(message)
    answering, request = signing.close()
    answers = {site: answer_unmask(phases[site], request, signing_key=consortium.keys[site])[1] for site in staying}
    for answer in answers.values():
        answering = answering.add(answer)
    total = answering.open()
    return {
        "terms": consortium.terms.as_data(),
        "batch": BATCH.as_data(),
        "model_hash": MODEL.hex(),
        "mask_keys": {site: phase.mask_keys[0].hex() for site, (phase, _) in made.items()},
        "seeds": {site: phase.seeds[0].hex() for site, (phase, _) in made.items()},
        "key_list": key_list.hex(),
        "values": values,
        "statistics": wide,
        "contributions": {site: content.hex() for site, content in contributions.items()},
        "announcement": announcement.hex(),
        "request": request.hex(),
        "answers": {site: content.hex() for site, content in answers.items()},
        "updates_sum": total.updates.tolist(),
        "statistics_sum": total.statistics.tolist(),
    }


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(vectors(), indent=1) + "\n")
