"""How this suite measures: pairs, CPU time, memory, results."""
