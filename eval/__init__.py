"""Automatic evaluation: tasks, runner, listening instruments, metrics."""
