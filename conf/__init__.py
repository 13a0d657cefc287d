"""The settings of simulations: Hydra's YAML groups, and the modules that compose, check and explain them."""
