"""The benchmark suite: the programs that people would otherwise use, and ours, in one run. `docs/benchmarks.md` says how."""
