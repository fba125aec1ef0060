"""The DICOMweb base of one job for the AI performer that works on it: de-identified objects out, results in."""
