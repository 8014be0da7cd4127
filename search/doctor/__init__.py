"""What usually breaks, and the cures."""
