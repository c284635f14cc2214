"""The human's side: inbox, proposals, decisions, the outcome desk, and the feedback people leave."""
