"""Genome-wide association studies over simulated hospitals: the command, its studies, and what it writes."""
