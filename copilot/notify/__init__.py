"""Telling people outside: an outbox written with the change it tells of, and the channels it is sent through."""
