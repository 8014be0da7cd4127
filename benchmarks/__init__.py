"""Measurements that anybody can repeat: each module prints a table of ratios from one run."""
