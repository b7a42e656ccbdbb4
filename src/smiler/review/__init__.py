"""Review: experts accept, correct, reject or mark absent what a model proposed; no model is needed, and no torch."""
