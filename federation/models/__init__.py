"""Tasks, network descriptions, flat parameter vectors, losses and additive metrics."""
