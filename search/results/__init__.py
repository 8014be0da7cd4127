"""What a search showed, as tables and figures, for Python, the report and the terminal."""
