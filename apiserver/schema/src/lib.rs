//! The one table of resources: names, schemas, defaults, merge keys, printer columns, and the documents derived from it.
