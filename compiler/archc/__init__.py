"""archc: a declarative compiler for neural-network architectures."""
