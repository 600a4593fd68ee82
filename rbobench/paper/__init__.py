"""The figures of the paper (arXiv 2505.19527), measured again."""
