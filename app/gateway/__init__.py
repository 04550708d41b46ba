"""The gateway: the one way to a venue, with the market mutex around evaluation and placement."""

from app.gateway.desired import DesiredOrder, Plan, diff
from app.gateway.evaluation import Applied, Evaluation
from app.gateway.gateway import Gateway, Locked

__all__ = ["Applied", "DesiredOrder", "Evaluation", "Gateway", "Locked", "Plan", "diff"]
