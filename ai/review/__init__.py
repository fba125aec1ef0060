"""What people decide about AI reports: `services` gives verdicts, `selectors` reads them, `applied` says what a reviewed report says."""
