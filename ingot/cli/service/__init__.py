"""Commands that speak to a CommServe; all of them are its REST interface and nothing else.

One file a resource; `asking` has what they share.
"""
