"""The pages that bptt writes, opened in Chromium."""
