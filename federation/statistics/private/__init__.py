"""Statistics with noise: patient-level differential privacy for the sums of an analysis, and solvers that live with it."""
