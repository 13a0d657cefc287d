"""The promise to patients and what keeps it: sampling, clipping, noise, accounting, calibration, random streams."""
