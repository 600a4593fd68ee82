"""From records to statements: data frames, statistics, leaderboards, tables and figures."""
