"""The aggregator's host: Flower's SuperLink, the gate in front of it, MLflow, and one coordinator per launched study."""
