"""A pytest plugin: hypothesis draws the same examples each time, and does not look for the smallest one that fails."""

from hypothesis import Phase, settings

settings.register_profile("mutations", derandomize=True, database=None, phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutations")
