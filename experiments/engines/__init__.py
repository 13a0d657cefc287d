"""The ways in which a simulation reaches its sites."""
