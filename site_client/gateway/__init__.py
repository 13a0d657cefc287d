"""The side of a site that has a network and no records."""
