"""Generated vital signs with a known onset of deterioration."""
