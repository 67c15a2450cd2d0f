"""A language model as a judge: prompts with a hash, replies that are never asked for twice, verdicts read strictly."""
