"""Child processes of an installation: engines, the aggregator's host and a site start theirs here."""
