"""The speed of a step, watched: recorded commit by commit, compared, plotted and published."""
