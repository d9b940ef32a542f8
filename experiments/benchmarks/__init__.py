"""Primitives raced against what a user would otherwise pick: ``python -m experiments.benchmarks`` lists the races."""
