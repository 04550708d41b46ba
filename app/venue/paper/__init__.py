"""The paper venue: the default. Its truth is in the schema ``paper`` and in commits of its own."""

from app.venue.paper.body import HashBody, Received, order_hasher, read_body
from app.venue.paper.desk import FindMarket, PaperMarket
from app.venue.paper.faults import Fault, Faults
from app.venue.paper.reading import PaperBook, PaperOrder, Quote, by_salt, doubled
from app.venue.paper.venue import MAX_BATCH, PaperVenue

__all__ = [
    "MAX_BATCH",
    "Fault",
    "Faults",
    "FindMarket",
    "HashBody",
    "PaperBook",
    "PaperMarket",
    "PaperOrder",
    "PaperVenue",
    "Quote",
    "Received",
    "by_salt",
    "doubled",
    "order_hasher",
    "read_body",
]
