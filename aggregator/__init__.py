"""What runs centrally: rounds, checkpoints, tracking, report. Cannot import a patient-level type."""
