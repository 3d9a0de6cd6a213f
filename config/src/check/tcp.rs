//! Options of TCP.

use std::time::Duration;

use super::Check;
use crate::{
    model::{Keepalive, Tcp},
    schema,
};

pub(super) fn resolve(tcp: &schema::Tcp, path: &str, check: &mut Check<'_, '_>) -> Tcp {
    let default = Tcp::default();
    let user_timeout = tcp.user_timeout.map_or(default.user_timeout, |it| it.0);
    if user_timeout < Duration::from_millis(1) || user_timeout > USER_TIMEOUT_MAX {
        let what = "this is below a millisecond or above 24 hours";
        check.wrong(&format!("{path}.user_timeout"), what, "`1ms` to `24h`");
    }
    let is_off = tcp.keepalive.enabled == Some(false);
    let keepalive = keepalive(&tcp.keepalive, &format!("{path}.keepalive"), check);
    Tcp { keepalive: (!is_off).then_some(keepalive), user_timeout }
}

fn keepalive(written: &schema::Keepalive, path: &str, check: &mut Check<'_, '_>) -> Keepalive {
    let default = Keepalive::default();
    let mut seconds = |key: &str, written: Option<schema::DurationText>, default: Duration| {
        let duration = written.map_or(default, |it| it.0);
        if duration.subsec_nanos() != 0 || duration > KEEPALIVE_MAX {
            let what = "the system counts whole seconds here, at most 32767";
            check.wrong(&format!("{path}.{key}"), what, "whole seconds, such as `10s`");
        }
        duration
    };
    Keepalive {
        idle: seconds("idle", written.idle, default.idle),
        interval: seconds("interval", written.interval, default.interval),
        probes: written.probes.map_or(default.probes, |it| it.get()),
    }
}

/// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` of Linux.
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// Longer than any network is gone; what is written in milliseconds fits into 32 bits.
const USER_TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
