"""The engine: AutoAttack on lanes, one work item each, so that no result depends on a batch."""
