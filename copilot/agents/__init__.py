"""Ticket in, draft out: intake, import, runs, and the approaches that draft."""
