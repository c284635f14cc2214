"""Tests are sentences against real databases and real processes; only the far end is faked, behind a real socket."""
