//! The endpoints of all clusters, as one worker sees them: their balance, load and connections.

use std::sync::Arc;

use hangu_codecs::Time;
use hangu_config::{Codes, Retry};

use super::{Pool, Pooled};
use crate::{
    cluster::{Balance, Budget, EndpointState},
    connection::ConnectionId,
    snapshot::{ClusterPlace, Lease, Member, Roster},
};

/// The endpoints of all clusters, by the places of the roster.
pub struct Endpoints {
    clusters: Vec<Cluster>,
    /// Of how many workers this is one.
    workers: usize,
}

struct Cluster {
    /// The members that the balance was made for.
    members: Arc<[Arc<Member>]>,
    kind: hangu_config::Balance,
    balance: Balance,
    /// What the balance looks at: the members that the cluster has, present ones only.
    states: Vec<EndpointState>,
    /// The place of each state.
    places: Vec<usize>,
    endpoints: Vec<Endpoint>,
    retry: Retry,
    budget: Budget,
}

#[derive(Default)]
struct Endpoint {
    member: Option<Arc<Member>>,
    /// Held as long as this worker has anything to do with it.
    lease: Option<Lease>,
    pool: Pool,
    /// Exchanges that chose it.
    active: u32,
    /// Index among the states, while it is present.
    state: Option<usize>,
}

impl Endpoint {
    fn takes_requests(&self) -> bool {
        self.member.as_ref().is_some_and(|it| it.takes_requests())
    }

    /// Lets go of an endpoint that is gone and that nothing is left of.
    fn release(&mut self) {
        let is_gone = self.member.as_ref().is_some_and(|it| !it.is_present);
        if is_gone && self.active == 0 && self.pool.is_empty() {
            self.lease = None;
        }
    }
}

impl Endpoints {
    /// None yet, for one of so many workers.
    pub fn new(workers: usize) -> Self {
        Self { clusters: Vec::new(), workers }
    }

    /// Takes on a new roster. Clusters and endpoints that are as they were are not touched. Gives
    /// the connections without a stream of endpoints that get no new requests.
    pub fn adapt(&mut self, roster: &Roster, random: u64, now: Time) -> Vec<ConnectionId> {
        let mut unwanted = Vec::new();
        for (index, place) in roster.clusters().iter().enumerate() {
            match self.clusters.get_mut(index) {
                Some(cluster) => cluster.adapt(place, random, &mut unwanted),
                None => self.clusters.push(Cluster::new(place, random, self.workers, now)),
            }
        }
        unwanted
    }

    /// An endpoint of a cluster, by the cluster's balance.
    pub fn pick(&mut self, cluster: usize, random: u64) -> Option<usize> {
        let cluster = self.clusters.get_mut(cluster)?;
        let state = cluster.balance.pick(&cluster.states, random)?;
        cluster.places.get(state).copied()
    }

    /// The connections to an endpoint.
    pub fn pool(&mut self, cluster: usize, endpoint: usize) -> Option<&mut Pool> {
        self.endpoint(cluster, endpoint).map(|it| &mut it.pool)
    }

    /// All connections that stand in pools, each with where.
    pub fn pooled(&self) -> impl Iterator<Item = (ConnectionId, Pooled)> + '_ {
        let endpoints = self.clusters.iter().flat_map(|it| &it.endpoints);
        endpoints.flat_map(|it| it.pool.pooled())
    }

    /// Places of clusters and endpoints whose connections someone waits for.
    pub fn awaited(&self) -> Vec<(usize, usize)> {
        let mut places = Vec::new();
        for (cluster, it) in self.clusters.iter().enumerate() {
            let awaited = it.endpoints.iter().enumerate().filter(|(_, it)| it.pool.waiting() > 0);
            places.extend(awaited.map(|(endpoint, _)| (cluster, endpoint)));
        }
        places
    }

    /// What is left of the budget of retries of each cluster, hundredths of a try.
    pub fn budgets(&self) -> Vec<u64> {
        self.clusters.iter().map(|it| it.budget.tokens()).collect()
    }

    /// Goes on with what another owner left of a cluster's budget.
    pub fn set_budget(&mut self, cluster: usize, tokens: u64) {
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.budget.set_tokens(tokens);
        }
    }

    /// An exchange that another owner gave to an endpoint is this worker's now.
    pub fn resumed(&mut self, cluster: usize, endpoint: usize) {
        self.count(cluster, endpoint, |active| active.saturating_add(1));
    }

    /// Whether an endpoint gets new requests.
    pub fn takes_requests(&self, cluster: usize, endpoint: usize) -> bool {
        let cluster = self.clusters.get(cluster);
        cluster.and_then(|it| it.endpoints.get(endpoint)).is_some_and(Endpoint::takes_requests)
    }

    /// Why a cluster has no endpoint for a request.
    pub fn why_none(&self, cluster: usize) -> &'static str {
        match self.clusters.get(cluster) {
            Some(it) if !it.states.is_empty() => "no_healthy_endpoint",
            Some(_) | None => "no_endpoint",
        }
    }

    /// Another endpoint for a request that one of them could not take, if there is one and the
    /// cluster's budget allows a further try.
    pub fn pick_again(
        &mut self,
        cluster: usize,
        not: usize,
        tries: u8,
        random: u64,
        now: Time,
    ) -> Option<usize> {
        let workers = self.workers;
        let cluster = self.clusters.get_mut(cluster)?;
        if tries >= cluster.retry.attempts_max {
            return None;
        }
        let pick = |step: u64| {
            let state = cluster.balance.pick(&cluster.states, random.wrapping_add(step))?;
            cluster.places.get(state).copied()
        };
        let other = (0..PICKS_MAX).map_while(pick).find(|it| *it != not)?;
        cluster.budget.take(cluster.retry.budget, workers, now).then_some(other)
    }

    /// Whether a cluster takes further tries after so many, as far as its budget allows them.
    pub fn allows_tries(&self, cluster: usize, tries: u8) -> bool {
        self.clusters.get(cluster).is_some_and(|it| tries < it.retry.attempts_max)
    }

    /// How calls of gRPC end that the cluster takes once more after so many tries, as far as its
    /// budget allows them.
    pub fn calls_again_on(&self, cluster: usize, tries: u8) -> Codes {
        let cluster = self.clusters.get(cluster).filter(|it| tries < it.retry.attempts_max);
        cluster.map_or(Codes::default(), |it| it.retry.grpc_on)
    }

    /// Whether the cluster's budget allows a further try after so many.
    pub fn try_again(&mut self, cluster: usize, tries: u8, now: Time) -> bool {
        let workers = self.workers;
        self.clusters.get_mut(cluster).is_some_and(|it| {
            tries < it.retry.attempts_max && it.budget.take(it.retry.budget, workers, now)
        })
    }

    /// An exchange was given to an endpoint.
    pub fn began(&mut self, cluster: usize, endpoint: usize) {
        if let Some(cluster) = self.clusters.get_mut(cluster) {
            cluster.budget.deposit(cluster.retry.budget);
        }
        self.count(cluster, endpoint, |active| active.saturating_add(1));
    }

    /// An exchange of an endpoint ended.
    pub fn ended(&mut self, cluster: usize, endpoint: usize) {
        self.count(cluster, endpoint, |active| active.saturating_sub(1));
        self.release(cluster, endpoint);
    }

    /// Something of an endpoint came to its end: lets it go if it was the last and it is gone.
    pub fn release(&mut self, cluster: usize, endpoint: usize) {
        if let Some(endpoint) = self.endpoint(cluster, endpoint) {
            endpoint.release();
        }
    }

    fn count(&mut self, cluster: usize, endpoint: usize, change: fn(u32) -> u32) {
        let Some(cluster) = self.clusters.get_mut(cluster) else { return };
        let Some(endpoint) = cluster.endpoints.get_mut(endpoint) else { return };
        endpoint.active = change(endpoint.active);
        if let Some(state) = endpoint.state.and_then(|it| cluster.states.get_mut(it)) {
            state.active = endpoint.active;
        }
    }

    fn endpoint(&mut self, cluster: usize, endpoint: usize) -> Option<&mut Endpoint> {
        self.clusters.get_mut(cluster)?.endpoints.get_mut(endpoint)
    }
}

/// Picks until another endpoint than the last one comes; a balance of unequal weights may give
/// the same several times.
const PICKS_MAX: u64 = 8;

impl Cluster {
    fn new(place: &ClusterPlace, random: u64, workers: usize, now: Time) -> Self {
        let kind = place.settings.balance;
        let retry = place.settings.retry;
        let mut cluster = Self {
            members: Arc::new([]),
            kind,
            balance: Balance::new(kind, &[], random),
            states: Vec::new(),
            places: Vec::new(),
            endpoints: Vec::new(),
            retry,
            budget: Budget::new(retry.budget, workers, now),
        };
        cluster.rebuild(place, random);
        cluster
    }

    fn adapt(&mut self, now: &ClusterPlace, random: u64, unwanted: &mut Vec<ConnectionId>) {
        self.retry = now.settings.retry;
        let is_same = Arc::ptr_eq(&self.members, &now.members) && self.kind == now.settings.balance;
        if is_same {
            return;
        }
        self.rebuild(now, random);
        for endpoint in &mut self.endpoints {
            if !endpoint.takes_requests() {
                unwanted.extend(endpoint.pool.available());
            }
            endpoint.release();
        }
    }

    fn rebuild(&mut self, now: &ClusterPlace, random: u64) {
        self.members = Arc::clone(&now.members);
        self.kind = now.settings.balance;
        self.endpoints.resize_with(self.members.len(), Endpoint::default);
        self.states.clear();
        self.places.clear();
        let members = self.members.iter().zip(&mut self.endpoints).enumerate();
        for (place, (member, endpoint)) in members {
            endpoint.member = Some(Arc::clone(member));
            endpoint.lease = Some(Lease::clone(&member.lease));
            endpoint.state = member.is_present.then_some(self.states.len());
            if member.is_present {
                self.places.push(place);
                self.states.push(EndpointState {
                    weight: member.weight,
                    active: endpoint.active,
                    healthy: member.takes_requests(),
                });
            }
        }
        self.balance = Balance::new(self.kind, &self.states, random);
    }
}
