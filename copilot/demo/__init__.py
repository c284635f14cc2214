"""A sample company on the public toolkit and client only: a shop with its own ledger, tools, tickets, an offline model."""
