"""Helpers of the cellscale notebooks: what two notebooks would otherwise both write."""
