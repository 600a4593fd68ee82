"""What `rbobench perf` measures, as classes for asv: one concept a file.

Every file runs on any commit and skips what that commit does not have. Values are costs: smaller is better.
Where it can be, a cost is a multiple of a reference measured in turns with it, for only ratios last from day
to day.

A class that measures all of its parameters in one `setup_cache` has a method `measure` too, which takes the
parameters and measures afresh: `rbobench perf check` asks it again and again.

asv keeps results by a benchmark's name, `params` and `version`: raise `version` where something else is
measured.
"""
