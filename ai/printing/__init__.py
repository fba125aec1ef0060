"""A report version on paper: one sheet of data, printed by typst as PDF and PNG, by templates/report/sheet.html as a page."""
