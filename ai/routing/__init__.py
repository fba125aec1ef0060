"""Which algorithms a study goes to: `vocabulary` and `rules` are pure, `sets` keeps versions, `live` decides, `dryrun` shows beforehand."""
