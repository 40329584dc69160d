"""The modules of Matryoshka networks and how they are put together."""
