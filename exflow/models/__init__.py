"""Set models: each module builds a `SetModel` from a configuration; `registry` finds them by family name."""
