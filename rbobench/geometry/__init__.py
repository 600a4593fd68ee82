"""What the paper proves, computed for one and two parameters: footpoints, offset graphs, reach."""
