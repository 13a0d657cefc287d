"""The centre's half of exact statistics: one sum over sites per step, and the loop around the solvers."""
