"""The demo: the whole life of some hundred orders, with kills, on a database of its own."""
