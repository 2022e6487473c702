//! Pod networks: CNI execution, the built-in bridge plugin, address management, host ports.
