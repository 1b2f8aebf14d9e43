"""What may go wrong on purpose: rules, and the decision which of them fires. Carrying it out is the server's."""
