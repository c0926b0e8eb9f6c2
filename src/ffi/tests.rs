//! The rules of the boundary that C programs cannot show: structs of other versions, panics.
