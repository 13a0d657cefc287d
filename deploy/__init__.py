"""How Cohortium is installed for real: images, compose files, units, a chart, and what tries them out."""
