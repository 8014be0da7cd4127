"""What each command of `rampart` reads and does."""
