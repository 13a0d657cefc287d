"""The study manifest, its schedule, and the results of its rounds."""
