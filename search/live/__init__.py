"""What is seen of a search or a run while it goes on."""
