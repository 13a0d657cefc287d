"""Empirical audits: attacks on the study's own code, turned into lower bounds on epsilon. See docs/audit.md."""
