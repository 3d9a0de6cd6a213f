//! Where the admin API is and who may use it, both of which a reload may change.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use hangu_config::Admin;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::bind::{self, BindError, Bound};
use super::token::{self, Access};
use crate::swap::SocketName;

/// The place of the admin API.
#[derive(Debug)]
pub(super) struct Place {
    access: RefCell<Rc<Access>>,
    /// The address that is served, where it is a TCP address.
    address: RefCell<Option<SocketAddr>>,
    /// A second descriptor of what is listened on, for a successor.
    socket: RefCell<Option<(SocketName, OwnedFd)>>,
    /// Tells the server where to listen from now on.
    moves: UnboundedSender<Bound>,
}

/// Another place, taken and not served yet. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Move {
    /// The same place may get another token.
    bound: Option<Bound>,
}

impl Place {
    /// The place that was taken at the start, and what the server hears of others.
    pub(super) fn new(bound: &Bound, access: Access) -> (Self, UnboundedReceiver<Bound>) {
        let (moves, moved) = unbounded_channel();
        let place = Self {
            access: RefCell::new(Rc::new(access)),
            address: RefCell::default(),
            socket: RefCell::default(),
            moves,
        };
        place.keep(bound);
        (place, moved)
    }

    fn keep(&self, bound: &Bound) {
        *self.address.borrow_mut() = bound.address();
        *self.socket.borrow_mut() = bound
            .again()
            .inspect_err(|error| {
                tracing::warn!("a successor will not get the admin address: {error}");
            })
            .ok();
    }

    /// Who may change something.
    pub(super) fn access(&self) -> Rc<Access> {
        Rc::clone(&self.access.borrow())
    }

    /// A further descriptor for a successor.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn for_successor(&self) -> std::io::Result<Option<(SocketName, OwnedFd)>> {
        let socket = self.socket.borrow();
        let Some((name, socket)) = socket.as_ref() else { return Ok(None) };
        Ok(Some((name.clone(), socket.try_clone()?)))
    }

    /// Takes the place that a new configuration wants; the old one is served on.
    ///
    /// # Errors
    /// See [`BindError`].
    pub(super) fn prepare(&self, then: &Admin, now: &Admin) -> Result<Move, BindError> {
        if is_same_place(then, now) {
            return Ok(Move { bound: None });
        }
        let socket = self.socket.borrow();
        let own = socket.as_ref().filter(|it| it.0 == SocketName::Admin(None)).map(|it| &it.1);
        bind::bind_beside(now, own).map(|bound| Move { bound: Some(bound) })
    }

    /// Serves at the new place, whose configuration is in force now. What is being answered at the
    /// old one is answered to its end.
    pub(super) fn commit(&self, prepared: Move, admin: &Admin) {
        let address = prepared.bound.as_ref().map_or(*self.address.borrow(), Bound::address);
        let made = self.access().made_here();
        match token::provide(admin, address, made) {
            Ok(access) => *self.access.borrow_mut() = Rc::new(access),
            Err(error) => tracing::error!("the admin API keeps its token: no random one: {error}"),
        }
        let Some(bound) = prepared.bound else { return };
        tracing::info!("the admin API moves to {bound}");
        self.keep(&bound);
        // The server ends with the control thread alone.
        let _ = self.moves.send(bound);
    }
}

/// Whether the same socket serves both.
fn is_same_place(then: &Admin, now: &Admin) -> bool {
    match (then, now) {
        (Admin::Unix { path: then }, Admin::Unix { path: now }) => then == now,
        (Admin::Tcp { address: then, .. }, Admin::Tcp { address: now, .. }) => then == now,
        (Admin::Unix { .. }, Admin::Tcp { .. }) | (Admin::Tcp { .. }, Admin::Unix { .. }) => false,
    }
}
