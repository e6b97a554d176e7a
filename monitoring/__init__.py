"""Watching production: the drift detector, Evidently's reports, alerts, and what starts a retraining."""
