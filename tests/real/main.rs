mod fixture_vault;
