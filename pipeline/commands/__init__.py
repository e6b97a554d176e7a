"""The command line: a file for each thing that commands are about. What they need is imported when they run."""
