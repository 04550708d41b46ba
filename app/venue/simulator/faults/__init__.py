"""Misbehaviour on order or by chance: what can go wrong, when it strikes, what it does."""

from app.venue.simulator.faults.catalogue import CATALOGUE, FaultKind, Stage
from app.venue.simulator.faults.plan import Facts, FaultPlan, Rule, Strike

__all__ = ["CATALOGUE", "Facts", "FaultKind", "FaultPlan", "Rule", "Stage", "Strike"]
