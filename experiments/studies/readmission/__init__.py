"""Readmission of diabetic inpatients over many made-up hospitals."""
