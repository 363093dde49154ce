"""qdebias in the forms that other libraries expect, one module a library; each needs that library alone."""
