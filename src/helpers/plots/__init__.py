"""Figures in one style: a colour per family, a marker per strategy, cells on a logarithmic axis, percentages beside."""
