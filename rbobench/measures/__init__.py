"""What is measured at a model's weights."""
