//! What concerns the process as a whole.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use super::{Check, check_name};
use crate::{
    model::{
        AccessLog, AccessLogFormat, Admin, Log, LogPath, Metrics, RpcMetrics, Secret,
        parse_access_log_format,
    },
    schema,
};

pub(super) fn workers(workers: schema::Workers) -> Option<NonZeroUsize> {
    NonZeroUsize::try_from(workers.0).ok()
}

pub(super) fn drain_timeout(file: &schema::File) -> Duration {
    file.drain_timeout.map_or(DRAIN_TIMEOUT, |it| it.0)
}

pub(super) fn drain_delay(file: &schema::File) -> Duration {
    file.drain_delay.map_or(Duration::ZERO, |it| it.0)
}

pub(super) fn zone(zone: Option<&String>, check: &mut Check<'_, '_>) -> Option<String> {
    if let Some(zone) = zone {
        check_name(zone, "zone", check);
    }
    zone.cloned()
}

pub(super) fn metrics(metrics: &schema::Metrics) -> Metrics {
    let rpc = &metrics.rpc;
    let series_max = rpc.series_max.map_or(RPC_SERIES_MAX, |it| it.get());
    Metrics { rpc: RpcMetrics { enabled: rpc.enabled.unwrap_or(true), series_max } }
}

pub(super) fn admin(admin: &schema::Admin, check: &mut Check<'_, '_>) -> Admin {
    if let Some(path) = &admin.path {
        if admin.address.is_some() {
            check.wrong("admin", "there are both `address` and `path`", "one of them");
        }
        if admin.allow_remote {
            check.wrong(
                "admin.allow_remote",
                "a Unix socket is never remote",
                "`address`, or leave it out",
            );
        }
        if !path.starts_with('/') || path.len() > UNIX_PATH_BYTES_MAX || path.contains('\0') {
            let what = format!(
                "the path of a Unix socket is absolute and has at most {UNIX_PATH_BYTES_MAX} bytes"
            );
            check.wrong("admin.path", what, "a path such as `/run/hangu/admin.sock`");
        }
        for (key, is_given) in
            [("token", admin.token.is_some()), ("token_path", admin.token_path.is_some())]
        {
            if is_given {
                let what = "whoever may open the Unix socket needs no token";
                check.wrong(&format!("admin.{key}"), what, "`address`, or leave it out");
            }
        }
        return Admin::Unix { path: PathBuf::from(path) };
    }
    let address = admin.address.map_or(ADMIN_ADDRESS, |it| it.0);
    if !address.ip().is_loopback() && !admin.allow_remote {
        check.wrong(
            "admin.address",
            format!(
                "other machines can reach {address}, and the admin API answers whoever reaches it"
            ),
            "a loopback address such as `127.0.0.1:9901`, or add `allow_remote: true`",
        );
    }
    Admin::Tcp {
        address,
        allow_remote: admin.allow_remote,
        token: token(admin, check),
        token_path: token_path(admin, check),
    }
}

fn token(admin: &schema::Admin, check: &mut Check<'_, '_>) -> Option<Secret> {
    let token = admin.token.as_ref()?;
    let is_visible = token.bytes().all(|it| it.is_ascii_graphic());
    if !is_visible || !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
        let what = format!(
            "a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters and no space"
        );
        check.wrong("admin.token", what, "a random one, such as `openssl rand -hex 32` gives");
    }
    Some(Secret::new(token.clone()))
}

fn token_path(admin: &schema::Admin, check: &mut Check<'_, '_>) -> Option<PathBuf> {
    let path = admin.token_path.as_ref()?;
    if admin.token.is_some() {
        let what = "there are both `token` and `token_path`, which keeps a random token";
        check.wrong("admin.token_path", what, "one of them");
    }
    if !path.starts_with('/') || path.contains('\0') {
        let what = "the path of the token is not absolute";
        check.wrong("admin.token_path", what, "a path such as `/run/hangu/admin.token`");
    }
    Some(PathBuf::from(path))
}

pub(super) fn log(log: &schema::Log, check: &mut Check<'_, '_>) -> Log {
    let path = match log.path.as_deref() {
        None | Some("-") => None,
        Some(path) => Some(file_name(path, "log.path", "standard error", check)),
    };
    Log {
        level: log.level,
        format: log.format,
        path,
        repeats_per_second_max: log
            .repeats_per_second_max
            .map_or(REPEATS_PER_SECOND_MAX, |it| it.get()),
    }
}

pub(super) fn access_log(log: &schema::AccessLog, check: &mut Check<'_, '_>) -> AccessLog {
    let path = match log.path.as_deref() {
        None | Some("-") => LogPath::Stdout,
        Some(path) => LogPath::File(file_name(path, "access_log.path", "standard output", check)),
    };
    let format = match log.format.as_deref().map(parse_access_log_format) {
        None => AccessLogFormat::default(),
        Some(Ok(format)) => format,
        Some(Err(fault)) => {
            check.wrong("access_log.format", fault.what, fault.instead.unwrap_or_default());
            AccessLogFormat::default()
        }
    };
    AccessLog { enabled: log.enabled.unwrap_or(true), path, format }
}

fn file_name(path: &str, key: &str, dash: &str, check: &mut Check<'_, '_>) -> PathBuf {
    if path.is_empty() || path.contains('\0') {
        check.wrong(key, "this is no file name", format!("a file name, or `-` for {dash}"));
    }
    PathBuf::from(path)
}

/// Longer than most requests last, shorter than the 90 s after which supervisors lose patience.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Port of the sidecars' admin API.
const ADMIN_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// `sun_path` of `unix(7)` is 108 bytes with its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// What nobody guesses in the life of a process.
const TOKEN_BYTES_MIN: usize = 16;

/// Fits into one field of a request.
const TOKEN_BYTES_MAX: usize = 1024;

/// So many lines a second can still be read by a log collector, from each of some dozens of places.
const REPEATS_PER_SECOND_MAX: u32 = 10;

/// A thousand methods, two callers each; some hundred KiB in each worker.
const RPC_SERIES_MAX: u32 = 2000;
