"""What is known and tried before anything is spent."""
