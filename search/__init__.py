"""Search: an experiment YAML in; trials, decisions, tables, promotions and reports out."""
