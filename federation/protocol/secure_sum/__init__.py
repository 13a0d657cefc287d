"""Sums over sites of which only the sum is ever seen: Bonawitz et al. 2017, active-adversary variant, complete graph.

Pure: bytes in, bytes and the next state out. ``docs/secure_aggregation.md`` has the order of calls.
"""
