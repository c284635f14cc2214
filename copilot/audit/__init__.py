"""What happened: the log, its Merkle tree, checkpoints, the export with its verifier, and redaction."""
