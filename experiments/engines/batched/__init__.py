"""The `batched` engine: all sites of a round trained as one tensor program."""
