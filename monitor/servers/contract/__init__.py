"""What every media server adapter promises, as tests that any adapter's own tests can run: see docs/adapters.md."""
