//! Taking over from a running gateway, which started this process for it.

use std::net::TcpListener;
use std::path::Path;

use hangu_config::{Config, copy_process_keys};

use super::run::{Stand, workers};
use super::{Exit, check, fail, preflight};
use crate::control::files::LoadError;
use crate::control::systemd::Service;
use crate::control::{self, Birth, Bound, Lineage, ProcessLog, token};
use crate::io::DriverChoice;
use crate::listener::Inherited;
use crate::start::Gateway;
use crate::swap::{self, SocketName, Successor};

/// Meets the running gateway, where this process is to follow one.
pub(super) fn meet(socket: Option<&Path>) -> Result<Option<Successor>, Exit> {
    let Some(socket) = socket else { return Ok(None) };
    let met = swap::meet(socket);
    met.map(Some).map_err(|error| fail(Exit::Unavailable, format!("cannot take over: {error}")))
}

/// Tells the running gateway, where there is one, that the configuration is wrong.
pub(super) fn refuse(successor: Option<&Successor>, error: LoadError) -> Exit {
    if let Some(successor) = successor {
        let why = match &error {
            LoadError::Unreadable(why) => why.clone(),
            LoadError::Wrong(sources, problems) => {
                check::render(sources, problems, "the old process goes on")
            }
        };
        successor.refuse(&format!("its configuration is wrong: {why}"));
    }
    check::refuse(error)
}

/// Takes over. `config` is what the files say now; the gateway begins with what was in force, and
/// the control thread loads the files then, as with any reload.
pub(super) fn follow(
    config: &Config,
    mut successor: Successor,
    service: &Service,
    log: &ProcessLog,
    mut lineage: Lineage,
) -> Result<Stand, Exit> {
    let refused = |successor: &Successor, why: String| {
        successor.refuse(&why);
        fail(Exit::Unavailable, format!("cannot take over: {why}"))
    };
    let in_force = successor.welcome.origin.load().map_err(|problems| {
        let first = problems.first().map_or_else(String::new, ToString::to_string);
        refused(&successor, format!("it cannot read the configuration in force: {first}"))
    });
    let mut in_force = in_force?;
    // Workers and the admin API are begun as the files want them, and need not be replaced then.
    copy_process_keys(config, &mut in_force);
    let listening = successor.take_listening();
    let again = |it: &(usize, TcpListener)| it.1.try_clone().ok();
    let inherited = Inherited::new(listening.iter().filter_map(again));
    let found = preflight::check(config, workers(config), &inherited);
    found.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    if !found.problems.is_empty() {
        return Err(refused(&successor, found.problems.join("; ")));
    }
    let admin = match admin(config, &mut successor) {
        Ok(admin) => admin,
        Err(error) => return Err(refused(&successor, error.to_string())),
    };
    let choice = DriverChoice::from(config.driver);
    let waiting = match Gateway::start_held(in_force, choice, listening) {
        Ok(waiting) => waiting,
        Err(error) => return Err(refused(&successor, error.to_string())),
    };
    let made = successor.welcome.admin_token.clone();
    lineage.words.generation = successor.welcome.generation;
    lineage.words.demo = successor.welcome.demo.clone();
    if let Some(life) = successor.take_other(|it| *it == SocketName::DemoLife) {
        lineage.sockets.push((SocketName::DemoLife, life));
    }
    let taken = successor.take_over(waiting);
    let taken =
        taken.map_err(|error| fail(Exit::Unavailable, format!("cannot take over: {error}")))?;
    // From here on this process serves, whatever else goes wrong.
    service.take_over(&inherited);
    let access = match token::provide(&config.admin, admin.address(), made) {
        Ok(access) => access,
        Err(error) => return Err(fail(Exit::Unavailable, format!("no random token: {error}"))),
    };
    let last_words = taken.last_words().unwrap_or_default();
    if let Some(Ok(level)) = last_words.log_level.as_deref().map(str::parse) {
        log.set_level(level);
    }
    let pause = taken.pause;
    let (gateway, farewell) = taken.split();
    lineage.birth = Some(Birth { last_words, pause, farewell });
    Ok(Stand { gateway, admin, access, lineage })
}

/// The admin address: the one that the running gateway listens on, if it is still wanted.
fn admin(config: &Config, successor: &mut Successor) -> Result<Bound, control::BindError> {
    let names = [SocketName::Admin(None)].into_iter();
    let path = match &config.admin {
        hangu_config::Admin::Unix { path } => path.to_str().map(str::to_owned),
        hangu_config::Admin::Tcp { .. } => None,
    };
    for name in names.chain([SocketName::Admin(path)]) {
        let Some(socket) = successor.take_other(|it| *it == name) else { continue };
        if let Some(bound) = Bound::inherit(&config.admin, &name, socket) {
            return Ok(bound);
        }
    }
    control::bind(&config.admin)
}
