"""The networks of latent Bernoulli autoencoders: encoder, latents, decoder."""
