"""The networks of set VAEs: one encoder, one hierarchy, one decoder."""
