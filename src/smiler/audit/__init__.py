"""TODO-audit"""
