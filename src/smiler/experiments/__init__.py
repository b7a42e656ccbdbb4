"""TODO-experiments"""
