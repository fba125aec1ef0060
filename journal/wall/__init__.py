"""The wall between hospitals: scope, models and migration operations. It stands on the lowest floor, since the journal's own
tables are behind it too (docs/decisions/0001)."""
