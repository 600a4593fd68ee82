"""The claims of the paper, each with its test: one subject a file."""
