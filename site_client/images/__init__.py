"""Images of a hospital: what reads DICOM, NIfTI and PNG files, checks that nobody can be recognised, and imports them."""
