"""Simulated studies: engines, named studies, references, sweeps, benchmarks, and the command line."""
