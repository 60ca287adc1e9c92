"""Everything that shapes text: tables, colours, log prefixes, progress, errors."""
