"""Hospital mortality on the eICU demo, beside APACHE IVa. See README.md beside this file."""
