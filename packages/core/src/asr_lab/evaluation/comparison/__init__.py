"""`asr-lab compare`: several results side by side, as a table, a page and JSON."""
