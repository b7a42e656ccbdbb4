"""The HTTP server of the review page: who may speak to it, what it answers, and the page's own files."""
