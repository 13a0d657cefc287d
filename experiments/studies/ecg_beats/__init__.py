"""Beats of one ECG record, cut into pieces."""
