//! What a gateway gives to its successor, and what it takes from its predecessor, beside what
//! the workers have.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    sync::{Arc, MutexGuard, PoisonError, mpsc::channel},
    time::Duration,
};

use hangu_codecs::Time;
use hangu_config::Endpoint;

use super::{Gateway, Handle, State};
use crate::{
    exchange::{self, Core, Held, Letter, Places, Unresponsive},
    io,
    snapshot::{Discovered, Learnt, LearntMember, ListenerPlace, Member, Roster},
    worker::{Advice, Balancer},
};

/// A gateway whose workers are held until they may begin.
pub struct Waiting {
    /// The gateway.
    pub gateway: Gateway,
    /// Its workers. Dropping them lets them begin.
    pub held: Vec<Held>,
}

impl Handle {
    /// Holds all workers still; they go on when what is returned is dropped.
    ///
    /// # Errors
    /// One of them does not come to it in time; those that did go on.
    pub fn hold(&self, wait: Duration) -> Result<Vec<Held>, Unresponsive> {
        let crew = self.crew();
        let mut all = Vec::with_capacity(crew.workers());
        for worker in 0..crew.workers() {
            let (held, holding) = exchange::hold();
            if !crew.send(worker, Letter::Hold(Box::new(holding))) {
                return Err(Unresponsive);
            }
            all.push(held);
        }
        all.iter().try_for_each(|it| it.wait(wait))?;
        Ok(all)
    }

    /// Lets a worker that has much more to do than another give a connection away.
    pub fn balance(&self, balancer: &mut Balancer, now: Time) {
        let spent: Vec<_> =
            self.state().counters.iter().map(|it| it.worker.cpu_us.value()).collect();
        match balancer.look(&spent, now) {
            Advice::Rest => {}
            Advice::Watch(worker) => drop(self.order(worker, Core::mark_traffic)),
            Advice::Shift { from, to, share } => {
                self.order(from, move |core| {
                    if core.shed(share, to) {
                        tracing::debug!(from, to, share, "a connection goes to another worker");
                    }
                });
            }
        }
    }

    /// Counts the versions that were published.
    pub fn version(&self) -> u64 {
        *self.changes.borrow()
    }

    /// Names of listeners and clusters by their place; empty where the configuration has none.
    pub fn places(&self) -> (Vec<String>, Vec<String>) {
        let state = self.state();
        let roster = &state.snapshot.roster;
        let name = |is_present: bool, name: &str| match is_present {
            true => name.to_owned(),
            false => String::new(),
        };
        let listeners = roster.listeners().iter().map(|it| name(it.is_present, &it.settings.name));
        let clusters = roster.clusters().iter().map(|it| name(it.is_present, &it.settings.name));
        (listeners.collect(), clusters.collect())
    }

    /// Keeps the workers that there are until what is returned is dropped: whoever hands over what
    /// they have must know who has it. Waits while others are relieving them.
    pub fn keep_workers(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Second descriptors of all listening sockets, with the place of their listener.
    ///
    /// # Errors
    /// There are no descriptors left, or a worker does not answer: one socket less would be all
    /// clients less that wait on it.
    pub fn listening(&self) -> std::io::Result<Vec<(usize, TcpListener)>> {
        let (found, all) = channel();
        let crew = self.crew();
        for worker in 0..crew.workers() {
            let found = found.clone();
            crew.order(worker, move |core| {
                let again = |(place, it): (usize, &TcpListener)| Ok((place, it.try_clone()?));
                let own: std::io::Result<Vec<_>> = core.listening().map(again).collect();
                // Whoever asked may have stopped waiting.
                let _ = found.send(own);
            });
        }
        drop(found);
        let mut sockets = Vec::new();
        for _ in 0..crew.workers() {
            let silent = |_| std::io::Error::other(Unresponsive);
            sockets.extend(all.recv_timeout(super::APPLY_WAIT).map_err(silent)??);
        }
        Ok(sockets)
    }

    /// What was learnt of the endpoints.
    pub fn learnt(&self) -> Learnt {
        let state = self.state();
        let member = |it: &Arc<Member>| LearntMember {
            address: it.address,
            weight: it.weight,
            labels: it.labels.clone(),
            is_present: it.is_present,
            is_healthy: it.is_healthy,
            is_draining: it.is_draining,
        };
        let clusters = state.snapshot.roster.clusters().iter();
        let addresses = |it: &Vec<Endpoint>| it.iter().map(|it| it.address).collect();
        Learnt {
            clusters: clusters.map(|it| it.members.iter().map(member).collect()).collect(),
            discovered: state
                .discovered
                .iter()
                .map(|(name, found)| (name.clone(), addresses(found)))
                .collect(),
        }
    }

    /// Takes on what another process learnt. `clusters` are its names by place. Tells where the
    /// endpoints are now.
    pub fn learn(&self, learnt: &Learnt, listeners: &[String], clusters: &[String]) -> Places {
        let mut state = self.state();
        let (with_gone, discovered) = found(learnt, clusters);
        // Endpoints that are gone get their places first and are then let go, so that what is in
        // flight on them comes to its end.
        let mut roster = state.snapshot.roster.with_discovered(&with_gone);
        let all = roster.clone();
        roster = roster.with_discovered(&discovered);
        for (name, members) in clusters.iter().zip(&learnt.clusters) {
            for member in members.iter().filter(|it| it.is_present) {
                let changed = roster.with_member(name, member.address, |it| {
                    it.is_healthy = member.is_healthy;
                    it.is_draining = member.is_draining;
                });
                roster = changed.unwrap_or(roster);
            }
        }
        let places = places(&roster, learnt, listeners, clusters);
        state.discovered = discovered;
        self.publish_roster(&mut state, roster);
        drop(all);
        places
    }

    /// Lets each worker that has no socket of a listener listen on one of its own: there are more
    /// workers now than had sockets before.
    pub fn listen_everywhere(&self) {
        self.listen_everywhere_in(&self.state());
    }

    pub(super) fn listen_everywhere_in(&self, state: &State) {
        let places: Vec<_> = state.snapshot.roster.listeners().to_vec();
        let addresses = state.addresses.clone();
        let crew = self.crew();
        for worker in 0..crew.workers() {
            let (places, addresses) = (places.clone(), addresses.clone());
            crew.order(worker, move |core| {
                let have: Vec<_> = core.listening().map(|it| it.0).collect();
                let missing = (0..)
                    .zip(places.iter().zip(&addresses))
                    .filter(|(place, (it, _))| it.is_present && !have.contains(place));
                let sockets: Vec<_> =
                    missing.filter_map(|(place, (it, at))| Some((place, bind(it, *at)?))).collect();
                if let Err(error) = core.listen(sockets) {
                    tracing::error!(%error, "a worker cannot accept on its own socket");
                }
            });
        }
    }

    /// Writes the rest of the access log, whose workers are held; says whether all was written.
    pub fn close_logs(&self, held: &[Held], wait: Duration) -> bool {
        for worker in held {
            worker.order(crate::exchange::Core::close_log);
            if worker.answer(wait).is_err() {
                return false;
            }
        }
        self.close_writers(wait)
    }
}

fn bind(listener: &ListenerPlace, address: SocketAddr) -> Option<TcpListener> {
    let settings = &listener.settings;
    io::bind(address, settings.backlog, settings.tcp)
        .inspect_err(|error| {
            tracing::warn!(
                listener = settings.name,
                %error,
                "a worker has no socket of its own and leaves accepting to the others"
            );
        })
        .ok()
}

/// What a roster is to find: with the endpoints that are gone, and without.
fn found(learnt: &Learnt, clusters: &[String]) -> (Discovered, Discovered) {
    let (mut with_gone, mut discovered) = (Discovered::new(), Discovered::new());
    for (name, members) in clusters.iter().zip(&learnt.clusters) {
        let by_name = |it: &LearntMember| {
            let found = learnt.discovered.get(name);
            it.is_present && found.is_some_and(|all| all.contains(&it.address))
        };
        let endpoint = |it: &LearntMember| Endpoint {
            address: it.address,
            weight: it.weight,
            labels: it.labels.clone(),
        };
        if learnt.discovered.contains_key(name) {
            let found = members.iter().filter(|it| by_name(it)).map(endpoint).collect();
            discovered.insert(name.clone(), found);
        }
        let gone = members.iter().filter(|it| !it.is_present || by_name(it)).map(endpoint);
        let gone: Vec<_> = gone.collect();
        if !gone.is_empty() {
            with_gone.insert(name.clone(), gone);
        }
    }
    (with_gone, discovered)
}

fn places(roster: &Roster, learnt: &Learnt, listeners: &[String], clusters: &[String]) -> Places {
    let names: BTreeMap<&str, usize> =
        (0..).zip(roster.listeners()).map(|(at, it)| (it.settings.name.as_str(), at)).collect();
    let of_cluster = |(name, members): (&String, &Vec<LearntMember>)| {
        let now = roster.clusters().iter().position(|it| it.settings.name == *name);
        let Some(place) = now.and_then(|it| roster.clusters().get(it)) else {
            return (None, Vec::new());
        };
        let addresses: BTreeMap<SocketAddr, usize> =
            (0..).zip(&*place.members).map(|(at, it)| (it.address, at)).collect();
        let endpoints = members.iter().map(|it| addresses.get(&it.address).copied()).collect();
        (now, endpoints)
    };
    Places {
        listeners: listeners.iter().map(|it| names.get(it.as_str()).copied()).collect(),
        clusters: clusters.iter().zip(&learnt.clusters).map(of_cluster).collect(),
    }
}

impl State {
    pub(super) fn addresses_of(
        roster: &Roster,
        sockets: &[super::WorkerSockets],
    ) -> Vec<SocketAddr> {
        let address = |place: usize| {
            let own = sockets.iter().flatten().find(|it| it.0 == place);
            own.and_then(|it| it.1.local_addr().ok())
        };
        let listeners = (0..).zip(roster.listeners());
        listeners.map(|(place, it)| address(place).unwrap_or(it.settings.address)).collect()
    }
}
