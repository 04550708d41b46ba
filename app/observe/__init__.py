"""What an operator sees: logs now; metrics, alerts and health pages later."""
