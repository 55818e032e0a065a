"""The origin shield: cache, origins, failover, invalidation, signing, assets."""
