"""Builds the images on a machine without a registry, and runs a consortium in them."""
