"""The account in the wild: other hands, late answers, odd rows. One module for each kind of fault."""
