"""What AI platforms send back as DICOM objects: C-STORE to a return AE, STOW to a performer base. Kept apart from the archive."""
