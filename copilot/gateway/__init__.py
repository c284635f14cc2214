"""The one door to tools: reads, writes (claim, call, settle), and what repairs them after a crash."""
