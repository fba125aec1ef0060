"""Stand-ins of the outside world, processes of their own; never part of a production install."""
