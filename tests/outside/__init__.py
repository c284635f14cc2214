"""Somebody else's tools, tasks and mistakes, brought through the product by its public toolkit only."""
