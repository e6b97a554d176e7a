"""The pipeline itself: the graph, its profiles, its runners and the command line."""
