"""The domain: reading handwritten digits, with no orchestrator, cluster or server in sight."""
