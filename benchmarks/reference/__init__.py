"""The training steps of the published models in PyTorch, with the values of exflow's: what its speed is measured by."""
