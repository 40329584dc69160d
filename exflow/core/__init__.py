"""Pure mathematics in JAX: bijectors, exchangeable processes, densities; no Flax, no input or output."""
