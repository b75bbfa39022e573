"""From weights to what runs them."""
