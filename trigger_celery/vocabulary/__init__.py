"""The words of the engine as data: states, records, identities, and pure rules over them."""
