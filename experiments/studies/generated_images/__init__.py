"""Generated images with a known lesion, as DICOM files of several scanners."""
