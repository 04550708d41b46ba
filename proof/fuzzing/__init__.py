"""Everything that comes from outside, bent: nothing may crash on it, hang on it, or take it for what it is not."""
