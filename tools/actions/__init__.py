"""One tool per file. Imported by `tools.catalog` alone; run by `tools.gateway` alone."""
