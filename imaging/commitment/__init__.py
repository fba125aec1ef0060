"""Storage commitment (PS3.4 Annex J, push model): requests as rows, checked against committed rows, answered on a new association."""
