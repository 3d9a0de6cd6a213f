//! Taking on the next configuration while requests are in flight.
//!
//! Exchanges keep the version that they began under. Connections stand on places that outlast
//! versions, so those of listeners, clusters and endpoints that are as they were are not touched.

use std::{rc::Rc, sync::Arc, task::Waker};

use super::{Core, ending::Closed};
use crate::{
    clock,
    connection::{Connection, ConnectionId, Load},
    io,
    snapshot::Snapshot,
    telemetry::Counters,
};

/// What a worker works with from now on.
pub struct Update {
    /// What it routes by.
    pub snapshot: Snapshot,
    /// What it counts; what the old and the new ones both count is shared by them.
    pub counters: Arc<Counters>,
    /// Connections of all workers, shared likewise.
    pub load: Arc<Load>,
}

impl Core {
    /// Takes on the next configuration.
    pub fn take_on(&mut self, update: Update) {
        let Update { snapshot, counters, load } = update;
        self.now = clock::now();
        let is_same_config = Arc::ptr_eq(&self.snapshot.config, &snapshot.config);
        let snapshot =
            if is_same_config { snapshot.with_routes_of(&self.snapshot) } else { snapshot };
        let snapshot = Rc::new(snapshot);
        let before = std::mem::replace(&mut self.snapshot, Rc::clone(&snapshot));
        self.counters = counters;
        self.load = load;
        let random = self.random();
        for id in self.endpoints.adapt(&snapshot.roster, random, self.now) {
            self.close_idle(id);
        }
        if !is_same_config {
            self.adjust_listeners(&before);
            self.say_goodbye_on(|place| {
                before.has_listener(place) && !snapshot.has_listener(place)
            });
            self.acceptors.drain(..).for_each(Waker::wake);
        }
        self.work_off();
    }

    /// Gives listening sockets what the new settings say. Connections that were accepted keep
    /// their options.
    fn adjust_listeners(&self, before: &Snapshot) {
        for (place, socket) in &self.listening {
            let Some(then) = before.listener(*place) else { continue };
            let Some(now) = self.snapshot.listener(*place) else { continue };
            if (then.backlog, then.tcp) == (now.backlog, now.tcp) {
                continue;
            }
            // Values that were checked are not refused.
            if let Err(error) = io::adjust(socket, now.backlog, now.tcp) {
                tracing::warn!(listener = now.name, %error, "cannot set options of a listener");
            }
        }
    }

    /// Closes a connection on which nothing is in flight.
    fn close_idle(&mut self, id: ConnectionId) {
        if self.connections.get(id).is_some_and(|it| Connection::in_flight(it) == 0) {
            self.close(id, Closed::Done);
        }
    }
}
