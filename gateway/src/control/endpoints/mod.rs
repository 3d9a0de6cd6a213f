//! Endpoints as they are found out: by DNS where they are, by health checks whether they work.
//!
//! One task for each name of a cluster, one for each endpoint that is checked, all on the control
//! thread: an endpoint is checked once, however many workers there are. A supervisor compares what
//! runs with what the configuration wants whenever a version is published. What the tasks find out
//! is published to the workers through [`Inspect`].

mod ask;
mod dns;
mod grpc;
mod health;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hangu_config::{Dns, Endpoint, HealthCheck};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, spawn_local};

use super::Inspect;
use crate::snapshot::{ClusterPlace, Member};

/// Health checks under way at the same time. Each takes a descriptor; the others wait their turn,
/// which does not count as their time.
const CHECKS_MAX: usize = 256;

/// The first answers of DNS are waited for this long before the gateway says that it is ready; a
/// name server that is dead should not keep the clusters away whose endpoints are known.
const FIRST_ANSWERS_WAIT: Duration = Duration::from_secs(5);

/// Endpoints as they are found out.
pub(super) struct Endpoints {
    gateway: Arc<dyn Inspect>,
    names: RefCell<HashMap<String, Named>>,
    checks: RefCell<HashMap<(String, SocketAddr), Checked>>,
    places: Rc<Semaphore>,
    /// Results of queries by cluster and result.
    queries: RefCell<BTreeMap<(String, &'static str), u64>>,
    /// Results of checks by cluster and result.
    results: RefCell<BTreeMap<(String, &'static str), u64>>,
    /// Changes of health by cluster.
    changes: RefCell<BTreeMap<String, u64>>,
    is_ready: Cell<bool>,
    became_ready: Notify,
    answered: Notify,
}

/// A cluster whose names are asked for.
struct Named {
    names: Rc<dns::Names>,
    _tasks: Vec<Task>,
}

/// An endpoint that is checked.
struct Checked {
    check: HealthCheck,
    protocol: &'static str,
    /// What the checks say. The roster may know less: an endpoint that went and came back, or whose
    /// cluster has another protocol now, is a new one there.
    is_healthy: Rc<Cell<bool>>,
    _task: Task,
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Endpoints {
    pub(super) fn new(gateway: Arc<dyn Inspect>) -> Rc<Self> {
        let snapshot = gateway.snapshot();
        let mut clusters = snapshot.roster.clusters().iter();
        let is_unknown = |it: &ClusterPlace| it.settings.dns.is_some() && found(it).is_empty();
        let is_waiting = clusters.any(|it| it.is_present && is_unknown(it));
        Rc::new(Self {
            gateway,
            names: RefCell::default(),
            checks: RefCell::default(),
            places: Rc::new(Semaphore::new(CHECKS_MAX)),
            queries: RefCell::default(),
            results: RefCell::default(),
            changes: RefCell::default(),
            is_ready: Cell::new(!is_waiting),
            became_ready: Notify::new(),
            answered: Notify::new(),
        })
    }

    /// Whether every name was answered once, or was waited for long enough; clusters whose endpoints
    /// were handed over are not waited for.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.get()
    }

    /// Waits until it is ready.
    pub(super) async fn wait_until_ready(&self) {
        let became_ready = self.became_ready.notified();
        if !self.is_ready.get() {
            became_ready.await;
        }
    }

    /// Follows the configuration for as long as the gateway runs.
    pub(super) async fn run(self: Rc<Self>) {
        let own = Rc::clone(&self);
        spawn_local(async move { own.wait_for_first_answers().await });
        let mut versions = self.gateway.changes();
        loop {
            versions.borrow_and_update();
            self.follow();
            if versions.changed().await.is_err() {
                return;
            }
        }
    }

    async fn wait_for_first_answers(&self) {
        let all = async {
            loop {
                let answered = self.answered.notified();
                let is_waiting = self.names.borrow().values().any(|it| !it.names.has_answered());
                let has_begun = !self.names.borrow().is_empty();
                if (has_begun && !is_waiting) || self.is_ready.get() {
                    return;
                }
                answered.await;
            }
        };
        if tokio::time::timeout(FIRST_ANSWERS_WAIT, all).await.is_err() {
            tracing::warn!("DNS has not answered yet: ready without endpoints of some clusters");
        }
        self.is_ready.set(true);
        self.became_ready.notify_waiters();
    }

    /// Starts what the configuration wants, and ends what it wants no more.
    fn follow(self: &Rc<Self>) {
        let snapshot = self.gateway.snapshot();
        let clusters = snapshot.roster.clusters().iter().filter(|it| it.is_present);
        let (mut named, mut checked) = (HashSet::new(), HashSet::new());
        let mut to_say = Vec::new();
        for place in clusters {
            let name = &place.settings.name;
            if let Some(dns) = &place.settings.dns {
                self.ask_for(place, dns);
                named.insert(name.clone());
            }
            for member in place.members.iter().filter(|it| it.is_present) {
                match &place.settings.health_check {
                    Some(check) => {
                        let is_healthy = self.check(name, member, check, place.settings.protocol);
                        if is_healthy != member.is_healthy {
                            to_say.push((name.clone(), member.address, is_healthy));
                        }
                        checked.insert((name.clone(), member.address));
                    }
                    // Without a check an endpoint is taken to work.
                    None if !member.is_healthy => {
                        to_say.push((name.clone(), member.address, true));
                    }
                    None => {}
                }
            }
        }
        let gone: Vec<_> = {
            let names = self.names.borrow();
            names.keys().filter(|it| !named.contains(*it)).cloned().collect()
        };
        for name in gone {
            self.names.borrow_mut().remove(&name);
            self.gateway.set_discovered(&name, Vec::new());
        }
        self.checks.borrow_mut().retain(|key, _| checked.contains(key));
        for (cluster, endpoint, is_healthy) in to_say {
            self.gateway.set_health(&cluster, endpoint, is_healthy);
        }
    }

    fn ask_for(self: &Rc<Self>, place: &ClusterPlace, dns: &Dns) {
        let cluster = &place.settings.name;
        let names = match self.names.borrow().get(cluster) {
            Some(it) if it.names.dns == *dns => return,
            Some(it) => it.names.succeeded_by(dns),
            None => dns::Names::new(cluster, dns, found(place)),
        };
        let names = Rc::new(names);
        let follow = |at| Task(spawn_local(dns::follow(Rc::clone(self), Rc::clone(&names), at)));
        let tasks = (0..dns.names.len()).map(follow).collect();
        self.names.borrow_mut().insert(cluster.clone(), Named { names, _tasks: tasks });
    }

    /// Lets an endpoint be checked; gives what is known of its health. Checks that change go on
    /// from what those before them said.
    fn check(
        self: &Rc<Self>,
        cluster: &str,
        member: &Member,
        check: &HealthCheck,
        protocol: &'static hangu_codecs::Protocol,
    ) -> bool {
        let key = (cluster.to_owned(), member.address);
        let is_healthy = {
            let checks = self.checks.borrow();
            match checks.get(&key) {
                Some(it) if it.check == *check && it.protocol == protocol.name => {
                    return it.is_healthy.get();
                }
                Some(it) => Rc::clone(&it.is_healthy),
                None => Rc::new(Cell::new(member.is_healthy)),
            }
        };
        let subject = health::Subject {
            cluster: key.0.clone(),
            endpoint: member.address,
            protocol,
            is_healthy: Rc::clone(&is_healthy),
        };
        let work = health::follow(Rc::clone(self), subject, check.clone());
        let task = Task(spawn_local(work));
        let known = is_healthy.get();
        let checked =
            Checked { check: check.clone(), protocol: protocol.name, is_healthy, _task: task };
        self.checks.borrow_mut().insert(key, checked);
        known
    }

    fn count_query(&self, cluster: &str, result: &'static str) {
        *self.queries.borrow_mut().entry((cluster.to_owned(), result)).or_default() += 1;
    }

    fn count_check(&self, cluster: &str, result: &'static str) {
        *self.results.borrow_mut().entry((cluster.to_owned(), result)).or_default() += 1;
    }

    /// What is counted here, for Prometheus.
    pub(super) fn render(&self, text: &mut String) {
        // Writing to memory does not fail.
        let _ = self.write(text);
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let snapshot = self.gateway.snapshot();
        let clusters = || snapshot.roster.clusters().iter().filter(|it| it.is_present);
        if clusters().any(|it| it.settings.health_check.is_some()) {
            let name = "hangu_endpoint_healthy";
            writeln!(text, "# HELP {name} Whether the health checks say that it works.")?;
            writeln!(text, "# TYPE {name} gauge")?;
            for place in clusters().filter(|it| it.settings.health_check.is_some()) {
                for member in place.members.iter().filter(|it| it.is_present) {
                    let cluster = &place.settings.name;
                    let (endpoint, healthy) = (member.address, u8::from(member.is_healthy));
                    writeln!(
                        text,
                        "{name}{{cluster=\"{}\",endpoint=\"{endpoint}\"}} {healthy}",
                        escape(cluster)
                    )?;
                }
            }
        }
        if clusters().any(|it| it.settings.dns.is_some()) {
            let name = "hangu_dns_endpoints";
            writeln!(
                text,
                "# HELP {name} Addresses that the cluster has, found by name or written."
            )?;
            writeln!(text, "# TYPE {name} gauge")?;
            for place in clusters().filter(|it| it.settings.dns.is_some()) {
                let count = place.members.iter().filter(|it| it.is_present).count();
                writeln!(text, "{name}{{cluster=\"{}\"}} {count}", escape(&place.settings.name))?;
            }
        }
        for (name, help, counts) in [
            ("hangu_dns_queries_total", "Names asked for, by result.", &self.queries),
            ("hangu_health_checks_total", "Health checks, by result.", &self.results),
        ] {
            if counts.borrow().is_empty() {
                continue;
            }
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter")?;
            for ((cluster, result), count) in &*counts.borrow() {
                let cluster = escape(cluster);
                writeln!(text, "{name}{{cluster=\"{cluster}\",result=\"{result}\"}} {count}")?;
            }
        }
        if !self.changes.borrow().is_empty() {
            let name = "hangu_health_changes_total";
            writeln!(text, "# HELP {name} Endpoints that failed or came back.")?;
            writeln!(text, "# TYPE {name} counter")?;
            for (cluster, count) in &*self.changes.borrow() {
                writeln!(text, "{name}{{cluster=\"{}\"}} {count}", escape(cluster))?;
            }
        }
        Ok(())
    }
}

/// Endpoints of a cluster that are not written in the configuration. Before anything was asked for
/// in this process, they are those that its predecessor handed over.
fn found(place: &ClusterPlace) -> Vec<Endpoint> {
    let is_written =
        |it: &Member| place.settings.endpoints.iter().any(|at| at.address == it.address);
    let members = place.members.iter().filter(|it| it.is_present && !is_written(it));
    let endpoint = |it: &Arc<Member>| Endpoint {
        address: it.address,
        weight: it.weight,
        labels: it.labels.clone(),
    };
    members.map(endpoint).collect()
}

/// A label value as the text format wants it.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// `duration`, longer or shorter at random by up to so many hundredths: what began together should
/// not stay together.
fn vary(duration: Duration, percent: u8) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 2001;
    let share = (random as f64 / 1000.0 - 1.0) * f64::from(percent.min(100)) / 100.0;
    duration.mul_f64(1.0 + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varied_duration_stays_within_its_share() {
        let base = Duration::from_secs(100);
        for _ in 0..1000 {
            let varied = vary(base, 10);
            assert!(varied >= base.mul_f64(0.9) && varied <= base.mul_f64(1.1), "{varied:?}");
        }
        assert_eq!(vary(base, 0), base);
    }
}
