"""Pictures and tables of analyses of one checkpoint."""
