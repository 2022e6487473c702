//! The per-pod supervisor: parent of the containers, keeper of their stdio, recorder of exits.
