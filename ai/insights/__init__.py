"""How the platforms do in this hospital: `queries` counts in SQL under the wall, `statistics` is pure, `figures` puts both together."""
