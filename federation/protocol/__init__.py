"""What the coordinator and a site say to each other."""
