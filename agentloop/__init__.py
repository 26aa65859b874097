"""Agentloop."""
