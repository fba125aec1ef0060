"""A report version as DICOM objects: SR, SEG, SC, encapsulated PDF. Called by whoever files and delivers a report."""
