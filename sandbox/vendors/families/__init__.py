"""One file a family of doubles: `mount(router, world)` puts it under its own path."""
