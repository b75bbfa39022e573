"""Photo libraries: `abc-fusenet sort` and `watch`."""
