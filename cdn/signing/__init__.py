"""Signed URLs and cookies: CloudFront's policies, and tokens of our own."""
