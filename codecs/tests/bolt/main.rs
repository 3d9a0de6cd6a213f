//! Tests of SOFA-Bolt and of the engine under it.

mod captures;
mod connection;
mod hessian2;
mod hostile;
mod properties;
#[path = "../support/bolt.rs"]
mod support;
mod trace;
mod vectors;
