"""How models are judged: one file per evaluation, arrays in, numbers out."""
