"""Identity: who asks, what they may do, and what makes and ends credentials. See docs/identity.md."""

from nova.surface.identity.principal import Principal, UserId, acting, require, require_owner

__all__ = ["Principal", "UserId", "acting", "require", "require_owner"]
