"""The agents of chorus, a predictor of conflicts between agents."""
