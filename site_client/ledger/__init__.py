"""The ledger of one patient population at a site: what every release costs its patients, and that it never costs more.

:class:`site_client.ledger.ledger.Ledger` is what the agent uses: reserve before the first noise, record the hash of what
was computed before it is sent, record that it was sent. Nothing is ever refunded and nothing is ever changed.
"""
