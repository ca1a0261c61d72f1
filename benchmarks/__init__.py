"""Benchmarks of gradtx beside Optax; `README.md` here says how to read them."""
