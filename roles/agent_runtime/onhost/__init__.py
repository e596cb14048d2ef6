"""Runs on the hosts, with nothing but the standard library: releases, generations and switching between them."""
