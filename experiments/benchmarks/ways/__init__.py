"""Several ways of doing the same federated training, each a program of its own: ours, a bare loop, and other systems.

``python -m experiments.benchmarks.ways NAME FOLDER`` reads the work from the folder, does it, leaves the final parameters
there, and prints its times as one line of JSON. Nothing of a way counts that comes before its first round has ended.
"""
