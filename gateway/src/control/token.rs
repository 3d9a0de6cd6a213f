//! The token that whoever changes something over TCP must show.
//!
//! When the configuration has none, the gateway makes one at its start and keeps it in a file that
//! its user alone can read; commands such as `hangu stop` find it there. So whoever may read that
//! file may stop the gateway, as with a Unix socket, and other users of the machine may not.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hangu_config::{Admin, Secret};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use super::bind::OwnFile;

/// Who may change something by the admin API.
#[derive(Debug)]
pub struct Access {
    /// SHA-256 of the token; `None` lets everyone, who had to open the Unix socket for it.
    token: Option<[u8; 32]>,
    /// Where a token is kept that was made here; removed with this.
    file: Option<OwnFile>,
    /// That token, for a successor.
    made: Option<Secret>,
}

impl Access {
    /// Whether the value of an `Authorization` field shows the token (RFC 6750 §2.1). Takes as long
    /// for a token that is nearly right as for any other.
    pub(super) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else { return true };
        let shown = authorization.and_then(|it| it.split_at_checked(BEARER.len()));
        let Some((scheme, shown)) = shown else { return false };
        let shown: [u8; 32] = Sha256::digest(shown.trim_ascii()).into();
        let differing = token.iter().zip(&shown).fold(0, |sum, (one, other)| sum | (one ^ other));
        scheme.eq_ignore_ascii_case(BEARER) && differing == 0
    }

    /// The token that was made at the start of this process or of one before it.
    pub(super) fn made_here(&self) -> Option<String> {
        self.made.as_ref().map(|it| it.reveal().to_owned())
    }

    /// Where the token is, for those who were not admitted.
    pub(super) fn hint(&self) -> String {
        match &self.file {
            Some(file) => format!("it is in {}", file.path().display()),
            None => "it is `admin.token` of the configuration".to_owned(),
        }
    }
}

const BEARER: &[u8] = b"Bearer ";

/// Makes what the admin API at `address`, if it is a TCP address, asks for. A token that cannot be kept in a file is told and
/// leaves the API readable alone: a gateway that cannot be stopped by command still does its work.
///
/// A successor goes on with the token that was `made` before.
///
/// # Errors
/// The system gives no random bytes.
pub fn provide(
    admin: &Admin,
    address: Option<SocketAddr>,
    made: Option<String>,
) -> io::Result<Access> {
    let (Admin::Tcp { token, token_path, .. }, Some(address)) = (admin, address) else {
        return Ok(Access { token: None, file: None, made: None });
    };
    let hashed = |token: &str| Some(Sha256::digest(token).into());
    if let Some(token) = token {
        return Ok(Access { token: hashed(token.reveal()), file: None, made: None });
    }
    let token = match made {
        Some(token) => token,
        None => random()?,
    };
    let file = match token_path {
        Some(path) => keep(path, &token).map_err(|error| told(path, &error)),
        None => keep_in_usual_place(address, &token),
    };
    let file = file
        .inspect_err(|why| {
            tracing::warn!(
                "the token of the admin API cannot be kept ({why}), so nobody can stop or reload \
                 this gateway by it: set admin.token, admin.token_path or a Unix socket"
            );
        })
        .ok();
    Ok(Access { token: hashed(&token), file, made: Some(Secret::new(token)) })
}

/// The token that the gateway at `admin` asks for, as far as this process can know it.
pub fn find(admin: &Admin) -> Option<Secret> {
    match admin {
        Admin::Unix { .. } => None,
        Admin::Tcp { token: Some(token), .. } => Some(token.clone()),
        Admin::Tcp { token_path: Some(path), .. } => read(path).ok(),
        Admin::Tcp { address, .. } => find_in_usual_place(*address),
    }
}

/// The token that a gateway at this address made at its start.
pub fn find_in_usual_place(address: SocketAddr) -> Option<Secret> {
    let places = directories().into_iter();
    places.filter_map(|it| read(&it.path.join(file_name(address))).ok()).next()
}

/// Reads a token from a file that nobody else can read or has written.
///
/// # Errors
/// It cannot be read, belongs to another user (whom root may trust), or is open to others.
pub fn read(path: &Path) -> io::Result<Secret> {
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
    let found = file.metadata()?;
    let user = geteuid();
    if !found.is_file() || found.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is no file, or one that other users can open"));
    }
    if found.uid() != user.as_raw() && !user.is_root() {
        return Err(io::Error::other("it belongs to another user"));
    }
    read_from(file)
}

/// Reads a token from a file that the caller names. Who may read it is for the caller to know:
/// mounted secrets are links, and often open to all in their container.
///
/// # Errors
/// It cannot be read.
pub fn read_named(path: &Path) -> io::Result<Secret> {
    read_from(File::open(path)?)
}

fn read_from(file: File) -> io::Result<Secret> {
    let mut text = String::new();
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Secret::new(text.trim_end().to_owned()))
}

/// A directory in which a token may be kept.
struct Directory {
    path: PathBuf,
    /// Whether it is made when it is not there.
    is_made: bool,
}

/// The usual places, the best first. `/run/hangu` is what systemd makes for `RuntimeDirectory=`,
/// or root for itself.
fn directories() -> Vec<Directory> {
    let user = geteuid();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|it| it.is_absolute());
    let of_runtime = runtime.map(|it| Directory { path: it.join("hangu"), is_made: true });
    let of_system = Directory { path: PathBuf::from("/run/hangu"), is_made: user.is_root() };
    let of_user = std::env::temp_dir().join(format!("hangu-{}", user.as_raw()));
    let of_user = Directory { path: of_user, is_made: true };
    of_runtime.into_iter().chain([of_system, of_user]).collect()
}

fn file_name(address: SocketAddr) -> String {
    format!("admin-{}.token", address.port())
}

fn keep_in_usual_place(address: SocketAddr, token: &str) -> Result<OwnFile, String> {
    let mut whys = Vec::new();
    for directory in directories() {
        let kept = own(&directory)
            .and_then(|()| keep(&directory.path.join(file_name(address)), token))
            .map_err(|error| told(&directory.path, &error));
        match kept {
            Ok(file) => return Ok(file),
            Err(why) => whys.push(why),
        }
    }
    Err(whys.join("; "))
}

/// Sees to it that a directory is one that nobody else can put files in.
fn own(directory: &Directory) -> io::Result<()> {
    if directory.is_made {
        match DirBuilder::new().mode(0o700).create(&directory.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let found = fs::symlink_metadata(&directory.path)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("it is no directory of this user alone"));
    }
    Ok(())
}

/// Writes the token beside its place and puts it there whole, so that nobody reads half of it.
fn keep(path: &Path, token: &str) -> io::Result<OwnFile> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = fs::remove_file(&fresh);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| writeln!(file, "{token}"))
        .and_then(|()| OwnFile::place(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn told(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// 256 random bits of the system as hexadecimal digits.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|it| format!("{it:02x}")).collect())
}

/// Longer than any token of a configuration.
const TOKEN_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::bind;

    fn tcp(token: Option<&str>, token_path: Option<&Path>) -> Admin {
        Admin::Tcp {
            address: ([127, 0, 0, 1], 0).into(),
            allow_remote: false,
            token: token.map(|it| Secret::new(it.to_owned())),
            token_path: token_path.map(Path::to_owned),
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hangu-token-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        DirBuilder::new().mode(0o700).create(&path).unwrap();
        path
    }

    #[test]
    fn only_the_token_is_admitted() {
        let admin = tcp(Some("0123456789abcdef"), None);
        let access = provide(&admin, bind(&admin).unwrap().address(), None).unwrap();
        for admitted in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
            assert!(access.admits(Some(admitted.as_bytes())), "{admitted}");
        }
        for refused in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdeg",
            "Basic 0123456789abcdef",
            "Bear\u{e9}",
        ] {
            assert!(!access.admits(Some(refused.as_bytes())), "{refused}");
        }
        assert!(!access.admits(None));
    }

    #[test]
    fn a_token_that_was_made_is_kept_for_its_user_and_goes_with_the_gateway() {
        let directory = scratch("made");
        let path = directory.join("token");
        let admin = tcp(None, Some(&path));
        let access = provide(&admin, bind(&admin).unwrap().address(), None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let found = find(&admin).unwrap();
        assert_eq!(found.reveal().len(), 64);
        assert!(access.admits(Some(format!("Bearer {}", found.reveal()).as_bytes())));
        assert!(access.hint().contains("token"));
        drop(access);
        assert!(!path.exists());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn each_start_makes_another_token() {
        assert_ne!(random().unwrap(), random().unwrap());
    }

    #[test]
    fn a_token_that_others_can_open_is_not_taken() {
        let directory = scratch("open");
        let path = directory.join("token");
        drop(keep(&path, "0123456789abcdef").map(std::mem::forget));
        assert!(read(&path).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read(&path).is_err());
        let link = directory.join("link");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link).is_err(), "a link");
        assert_eq!(read_named(&link).unwrap().reveal(), "0123456789abcdef");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_to_keeps_no_token() {
        let path = scratch("shared");
        let directory = Directory { path: path.clone(), is_made: true };
        assert!(own(&directory).is_ok());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(own(&directory).is_err());
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_gateway_whose_token_cannot_be_kept_runs_and_admits_nobody() {
        let admin = tcp(None, Some(Path::new("/proc/none/token")));
        let access = provide(&admin, bind(&admin).unwrap().address(), None).unwrap();
        assert!(!access.admits(None));
        assert!(find(&admin).is_none());
    }
}
