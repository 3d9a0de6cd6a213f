//! The memory that connections take which have asked once and then say nothing.
//!
//! They ask one after the other, so that no proxy needs more than one upstream connection, and
//! what grows at the proxy is what it keeps for its clients.

use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use crate::load::{Fault, Single};
use crate::proxy::Running;

/// How many connections, and how long they are left alone.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections.
    pub connections: usize,
    /// From the last answer to the second reading of the memory.
    pub wait: Duration,
}

/// What was found at one proxy that had just been started.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Connections that were open.
    pub connections: usize,
    /// Resident memory after one request, its connection closed again.
    pub start_bytes: u64,
    /// With all connections open and each request answered.
    pub opened_bytes: u64,
    /// The same after the wait.
    pub later_bytes: u64,
    /// What was wrong, in words, and how often: also of the request that each connection asks
    /// after the wait.
    pub errors: Vec<(String, u64)>,
}

impl Round {
    /// Bytes that a connection added, at once.
    #[must_use]
    pub fn added(&self) -> f64 {
        self.per_connection(self.opened_bytes)
    }

    /// Bytes that a connection added, after the wait.
    #[must_use]
    pub fn added_later(&self) -> f64 {
        self.per_connection(self.later_bytes)
    }

    fn per_connection(&self, bytes: u64) -> f64 {
        (bytes as f64 - self.start_bytes as f64) / self.connections as f64
    }
}

/// Opens the connections, and reads the proxy's memory before, with them, and after the wait.
///
/// # Errors
/// The proxy takes no connection, or ended.
pub fn measure(plan: Plan, proxy: &Running) -> io::Result<Round> {
    let workload = proxy.workload();
    let target = proxy.address();
    let mut faults = Faults::default();
    faults.take(Single::connect(target, workload, plan.connections)?.ask());
    let resident = || proxy.process.family().resident_bytes();
    let start_bytes = resident()?;
    let mut held = Vec::with_capacity(plan.connections);
    for number in 0..plan.connections {
        let mut single = Single::connect(target, workload, number)?;
        faults.take(single.ask());
        held.push(single);
    }
    let opened_bytes = resident()?;
    clock::wait(plan.wait);
    let later_bytes = resident()?;
    for single in &mut held {
        faults.take(single.ask());
    }
    let connections = plan.connections;
    Ok(Round { connections, start_bytes, opened_bytes, later_bytes, errors: faults.told() })
}

#[derive(Default)]
struct Faults(std::collections::BTreeMap<Fault, u64>);

impl Faults {
    fn take(&mut self, verdict: Result<(), Fault>) {
        if let Err(fault) = verdict {
            *self.0.entry(fault).or_default() += 1;
        }
    }

    fn told(self) -> Vec<(String, u64)> {
        self.0.into_iter().map(|(fault, count)| (fault.to_string(), count)).collect()
    }
}
