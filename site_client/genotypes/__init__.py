"""A site's genotypes: read from its files in blocks, brought to the study's list of variants, for the patients of an analysis."""
