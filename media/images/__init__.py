"""Pictures: what people send in becomes every size that is asked for."""
