"""What a hospital decides and can prove about its AI: terms, recalls, the registry, what left the house, what was used."""
