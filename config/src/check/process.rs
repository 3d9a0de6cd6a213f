//! What concerns the process as a whole.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use super::Check;
use crate::{
    model::{AccessLog, Admin, LogPath},
    schema,
};

pub(super) fn workers(workers: schema::Workers) -> Option<NonZeroUsize> {
    NonZeroUsize::try_from(workers.0).ok()
}

pub(super) fn drain_timeout(file: &schema::File) -> Duration {
    file.drain_timeout.map_or(DRAIN_TIMEOUT, |it| it.0)
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
        return Admin::Unix { path: PathBuf::from(path) };
    }
    let address = admin.address.map_or(ADMIN_ADDRESS, |it| it.0);
    if !address.ip().is_loopback() && !admin.allow_remote {
        check.wrong(
            "admin.address",
            format!("other machines can reach {address}, and the admin API has no password"),
            "a loopback address such as `127.0.0.1:9901`, or add `allow_remote: true`",
        );
    }
    Admin::Tcp { address, allow_remote: admin.allow_remote }
}

pub(super) fn access_log(log: &schema::AccessLog, check: &mut Check<'_, '_>) -> AccessLog {
    let path = match log.path.as_deref() {
        None | Some("-") => LogPath::Stdout,
        Some(path) => {
            if path.is_empty() || path.contains('\0') {
                check.wrong(
                    "access_log.path",
                    "this is no file name",
                    "a file name, or `-` for standard output",
                );
            }
            LogPath::File(PathBuf::from(path))
        }
    };
    AccessLog { enabled: log.enabled.unwrap_or(true), path }
}

/// Longer than most requests last, shorter than the 90 s after which supervisors lose patience.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Port of the sidecars' admin API.
const ADMIN_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);

/// `sun_path` of `unix(7)` is 108 bytes with its NUL.
const UNIX_PATH_BYTES_MAX: usize = 107;
