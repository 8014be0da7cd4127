"""From the best trials to full runs, and what is better than noise."""
