"""Set models: each module builds a `Model` from a configuration; `registry` finds them by family name."""
