"""Associations of single genetic variants with a trait, from sums over sites: alignment, quality, tests, components, scores."""
