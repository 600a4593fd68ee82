"""From a suite file to records: planning, training, and where it ran."""
