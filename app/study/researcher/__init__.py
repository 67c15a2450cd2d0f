"""The researcher's pages: who is where, which arm runs how, when one may stop, what was said, and whom to forget."""
