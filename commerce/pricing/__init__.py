"""What an order costs: one function, the rules it goes by, and how a price is told and kept."""
