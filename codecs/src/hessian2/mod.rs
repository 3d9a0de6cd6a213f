//! Hessian2: the bounded reading of what routing needs.
//!
//! Nothing is deserialised. Values are passed over by their bytes, with an explicit stack of fixed
//! depth; a declared length is only ever compared with what is there; references are not followed.

mod sofa;

pub use sofa::{BODY_BYTES_MAX, CLASSES_MAX, DEPTH_MAX, sofa_method};
