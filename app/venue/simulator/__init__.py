"""The simulated venue: Polymarket's documented interfaces over the matching core, in a process and a
store of its own, with every fault that docs/venue.md tells of.

Layers, from the inside: `exchange` and its neighbours (state, pure), `venue` (the machine of
commands), `journal` (the store), `service` (decide, journal, tell, answer), ``faults`` (what goes
wrong), ``wire`` (bytes), `control_server` (scripts and auditors), `process`.
"""
