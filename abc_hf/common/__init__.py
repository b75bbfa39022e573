"""What every floor may use; it imports no torch."""
