"""Networks of many sites as one: parameters ``[S, D]``, activations ``[S, B, ...]``, forward and backward by hand.

One program serves a real site (``S = 1``), where it replaces the hooks that make a gradient for each record, and a simulation
that trains all sites of a round at once. Layers that are not covered are not guessed at:
:func:`~federation.models.stacked.network.stacked_network` returns ``None``.
"""
