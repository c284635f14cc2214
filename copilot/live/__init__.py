"""The event stream to browsers: what changed, by id and state, never by content."""
