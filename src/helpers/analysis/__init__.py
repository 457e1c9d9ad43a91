"""From the tidy results to statements: tables, saturation points, scaling."""
