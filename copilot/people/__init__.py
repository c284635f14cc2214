"""Who is who, and how they prove it: accounts, passwords, sessions, tokens, and agents as principals.

Whatever changes something runs inside the edge's `transaction()` and appends its one audit event there; checking a
password runs outside of it, because it takes long on purpose.
"""
