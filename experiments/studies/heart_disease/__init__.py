"""Heart disease at four real hospitals."""
