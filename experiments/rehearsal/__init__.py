"""A whole consortium on one machine, through the commands that its people would type."""
