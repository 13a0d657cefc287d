"""Exact federated statistics: what each step of an analysis sums over patients, and what follows from the sums."""
