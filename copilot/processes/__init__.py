"""The processes of one installation: supervisor, embedded server, web, worker entry, clock, and what looks after them."""
