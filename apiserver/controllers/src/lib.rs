//! One reconciling loop per file: deployments, replica sets, jobs, endpoint slices, namespaces, garbage.
