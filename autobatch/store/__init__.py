"""The ledger beside the Optuna tables: schema, migrations, recovery. Nothing else writes our tables."""
