"""Loading weights, and running them."""
