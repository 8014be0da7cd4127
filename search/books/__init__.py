"""The books of a search: its records, its study, its drivers, and every change of them."""
