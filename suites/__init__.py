"""The shipped experiment suites."""
