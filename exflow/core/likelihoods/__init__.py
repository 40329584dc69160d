"""What the decoder of a latent variable model says of an element: a law per name."""
