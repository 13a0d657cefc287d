"""A site's half of exact statistics: from its records to one vector of sums per step."""
