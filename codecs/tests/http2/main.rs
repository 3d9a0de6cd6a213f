//! Tests of HTTP/2 connections.

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod closing;
mod flow;
mod kept;
mod limits;
mod messages;
mod properties;
mod states;
mod tunnels;
