"""How much may run alone: evidence in numbers, the ladder's targets, and the grants themselves."""
