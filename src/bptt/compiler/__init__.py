"""From a step as it runs to a program of torch operations that can be run again without it."""
