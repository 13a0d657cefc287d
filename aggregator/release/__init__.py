"""The end of a study: its model as a signed folder that others can verify, read and run."""
