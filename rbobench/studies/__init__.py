"""Studies beyond the paper: how sharp a minimum the ball can sit in, how well it is projected, what pays."""
