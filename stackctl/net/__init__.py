"""Bridges, veth pairs, addresses, nftables, published ports, DNS."""
