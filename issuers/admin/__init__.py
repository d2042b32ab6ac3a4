"""The pages of issuers, and what the pages of every app share.

Read `pages` (add, edit, view, delete), `forms` (only the fields that apply), `widgets` (lists).
"""

from issuers.admin.issuer import IssuerAdmin

__all__ = ["IssuerAdmin"]
