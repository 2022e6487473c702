//! The API server: REST and gRPC over a registry of typed objects over a store.
