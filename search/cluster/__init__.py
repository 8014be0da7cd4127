"""The only part of `search` that imports Ray: cluster, tuner, trial driver, searcher, reaper."""
