"""Hardens hosts by level, with waivers, keeping what was there before."""
