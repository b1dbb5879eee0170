"""The judge: is what was served what the training join gives for the same request?"""
