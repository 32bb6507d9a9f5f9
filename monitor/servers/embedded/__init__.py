"""A small relay of Livecordon's own, for the demo and for tests only; it is no media server for production."""
