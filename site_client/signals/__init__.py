"""Waveforms and wearables of a site: readers, resampling, quality, windows, and the import that makes a store of arrays."""
