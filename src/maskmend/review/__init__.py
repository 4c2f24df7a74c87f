"""The review app: what reviewers decide, what of it counts, and the local server of its page.

`decisions`, `state`, `progress` and `pixels` need no web library, since an export reads them too.
"""
