"""Speed and memory: each `bench_<what>.py` prints a table and writes one JSON line; `python -m benchmarks` runs all."""
