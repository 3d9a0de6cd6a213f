//! Taking the address of the admin API, before anything else starts.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use hangu_config::Admin;
use socket2::{Domain, SockRef, Socket, Type};

use crate::swap::SocketName;

/// The address of the admin API, taken.
#[derive(Debug)]
pub enum Bound {
    /// A TCP address.
    Tcp(TcpListener),
    /// A Unix socket; its file is removed when this is dropped.
    Unix(UnixListener, OwnFile),
}

impl Bound {
    /// The TCP address that was taken: the port that the system chose where the configuration
    /// said 0.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

impl Bound {
    /// A second descriptor, with the name that it has for a successor.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn again(&self) -> io::Result<(SocketName, OwnedFd)> {
        Ok(match self {
            Self::Tcp(listener) => (SocketName::Admin(None), listener.try_clone()?.into()),
            Self::Unix(listener, file) => {
                let path = file.path.to_str().map(str::to_owned);
                (SocketName::Admin(path), listener.try_clone()?.into())
            }
        })
    }

    /// The socket that a predecessor listened on, if it is where the configuration wants it.
    pub fn inherit(admin: &Admin, name: &SocketName, socket: OwnedFd) -> Option<Self> {
        match (admin, name) {
            (Admin::Tcp { address, .. }, SocketName::Admin(None)) => {
                let listener = TcpListener::from(socket);
                let bound = listener.local_addr().ok()?;
                let is_same = bound.ip() == address.ip()
                    && (address.port() == 0 || address.port() == bound.port());
                is_same.then_some(Self::Tcp(listener))
            }
            (Admin::Unix { path }, SocketName::Admin(Some(name)))
                if path.to_str() == Some(name) =>
            {
                let found = fs::symlink_metadata(path).ok()?;
                let file = OwnFile { path: path.clone(), device: found.dev(), inode: found.ino() };
                Some(Self::Unix(UnixListener::from(socket), file))
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(formatter),
                Err(error) => error.fmt(formatter),
            },
            Self::Unix(_, file) => file.path.display().fmt(formatter),
        }
    }
}

/// A file that this process put in its place. Removed when dropped, unless another process put its
/// own there.
#[derive(Debug)]
pub struct OwnFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl OwnFile {
    /// Puts a file in its place, instead of one that may be there.
    pub(super) fn place(fresh: &Path, path: &Path) -> io::Result<Self> {
        let made = fs::symlink_metadata(fresh)?;
        fs::rename(fresh, path)?;
        Ok(Self { path: path.to_owned(), device: made.dev(), inode: made.ino() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let Ok(found) = fs::symlink_metadata(&self.path) else { return };
        if (found.dev(), found.ino()) == (self.device, self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why the address of the admin API could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Whoever reaches the admin API may stop the gateway and see its configuration.
    #[error(
        "the admin API would listen on {0}, which other machines may reach, and it shows \
         them metrics and configuration: use 127.0.0.1 or a Unix socket (admin.path), or write `allow_remote: true` \
         beside the address if the network keeps strangers out"
    )]
    NotLoopback(SocketAddr),
    /// Another process listens there.
    #[error(
        "the admin address {0} is in use: `ss -ltnp 'sport = :{port}'` tells by whom; perhaps \
         a gateway runs already (`hangu stop --admin {0}`)",
        port = .0.port()
    )]
    InUse(SocketAddr),
    /// A gateway answers at that socket.
    #[error(
        "another process answers at the admin socket {0}: perhaps a gateway runs already \
         (`hangu stop --admin {0}`)"
    )]
    SocketInUse(PathBuf),
    /// There is a file that is no socket.
    #[error(
        "the admin socket {0} cannot be made: there is a file of that name, which is no socket"
    )]
    NoSocket(PathBuf),
    /// The system said no.
    #[error("the admin API cannot listen on {0}: {1}")]
    Failed(String, #[source] io::Error),
}

/// Takes the address of the admin API.
///
/// # Errors
/// See [`BindError`]; each says what to do.
pub fn bind(admin: &Admin) -> Result<Bound, BindError> {
    match admin {
        Admin::Tcp { address, allow_remote, .. } => bind_tcp(*address, *allow_remote),
        Admin::Unix { path } => bind_unix(path),
    }
}

/// As [`bind`], while `own` listens on another address that may have the same port, as when the
/// API moves from all addresses of the machine to one of them.
///
/// # Errors
/// As [`bind`].
pub(super) fn bind_beside(admin: &Admin, own: Option<&OwnedFd>) -> Result<Bound, BindError> {
    let bound = bind(admin);
    let (Err(BindError::InUse(address)), Some(own)) = (&bound, own) else { return bound };
    let own = SockRef::from(own);
    let port = own.local_addr().ok().and_then(|it| it.as_socket()).map(|it| it.port());
    if port != Some(address.port()) {
        return bound;
    }
    let beside = bind_beside_own(*address, &own);
    beside.map(Bound::Tcp).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(*address),
        _ => BindError::Failed(address.to_string(), error),
    })
}

/// Both sockets allow the port to be shared as long as the second one is bound, and no other of
/// this user's processes gets in between for good: it is forbidden again then.
fn bind_beside_own(address: SocketAddr, own: &SockRef<'_>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    own.set_reuse_port(true)?;
    let bound = socket.bind(&address.into()).and_then(|()| socket.listen(BACKLOG));
    own.set_reuse_port(false)?;
    bound?;
    socket.set_reuse_port(false)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What the standard library asks for.
const BACKLOG: i32 = 128;

fn bind_tcp(address: SocketAddr, allow_remote: bool) -> Result<Bound, BindError> {
    if !address.ip().to_canonical().is_loopback() && !allow_remote {
        return Err(BindError::NotLoopback(address));
    }
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Failed(address.to_string(), error),
    })?;
    set_nonblocking(listener.set_nonblocking(true), &address.to_string())?;
    Ok(Bound::Tcp(listener))
}

/// A file that a dead gateway left is replaced. The socket is made under another name, closed to
/// other users, and only then put in its place, so that at no time anyone else can connect.
fn bind_unix(path: &Path) -> Result<Bound, BindError> {
    let failed = |error| BindError::Failed(path.display().to_string(), error);
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(BindError::NoSocket(path.to_owned()));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(BindError::SocketInUse(path.to_owned()));
        }
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(failed)?;
    let placed = place(&fresh, path);
    if placed.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    let file = placed.map_err(failed)?;
    set_nonblocking(listener.set_nonblocking(true), &path.display().to_string())?;
    Ok(Bound::Unix(listener, file))
}

fn place(fresh: &Path, path: &Path) -> io::Result<OwnFile> {
    fs::set_permissions(fresh, fs::Permissions::from_mode(0o600))?;
    OwnFile::place(fresh, path)
}

fn set_nonblocking(result: io::Result<()>, name: &str) -> Result<(), BindError> {
    result.map_err(|error| BindError::Failed(name.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str, allow_remote: bool) -> Admin {
        let address = address.parse().unwrap();
        Admin::Tcp { address, allow_remote, token: None, token_path: None }
    }

    fn socket_path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("hangu-{name}-{}.sock", std::process::id()))
    }

    #[test]
    fn an_address_that_others_reach_must_be_allowed_by_name() {
        for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let refused = bind(&tcp(address, false));
            assert!(matches!(refused, Err(BindError::NotLoopback(_))), "{address}");
        }
        assert!(bind(&tcp("0.0.0.0:0", true)).is_ok());
        assert!(bind(&tcp("127.0.0.2:0", false)).is_ok());
        assert!(bind(&tcp("[::ffff:127.0.0.1]:0", false)).is_ok());
    }

    #[test]
    fn a_port_in_use_is_named_with_the_command_that_finds_its_owner() {
        let first = bind(&tcp("127.0.0.1:0", false)).unwrap();
        let address = first.address().unwrap();
        let error = bind(&tcp(&address.to_string(), false)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("ss -ltnp 'sport = :{}'", address.port())), "{text}");
    }

    #[test]
    fn the_same_port_is_taken_on_another_address_beside_the_own_socket_alone() {
        let first = bind(&tcp("0.0.0.0:0", true)).unwrap();
        let port = first.address().unwrap().port();
        let admin = tcp(&format!("127.0.0.1:{port}"), false);
        assert!(matches!(bind_beside(&admin, None), Err(BindError::InUse(_))));
        let (_, own) = first.again().unwrap();
        let second = bind_beside(&admin, Some(&own)).unwrap();
        assert_eq!(second.address(), Some(([127, 0, 0, 1], port).into()));
        let third = bind_beside(&tcp(&format!("127.0.0.2:{port}"), false), None);
        assert!(matches!(third, Err(BindError::InUse(_))), "{third:?}");
    }

    #[test]
    fn a_socket_left_by_a_dead_gateway_is_replaced_and_a_live_one_is_not() {
        let path = socket_path("left");
        drop(UnixListener::bind(&path).unwrap());
        let admin = Admin::Unix { path: path.clone() };
        let bound = bind(&admin).unwrap();
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(bind(&admin), Err(BindError::SocketInUse(_))));
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn the_socket_of_a_successor_is_left_alone() {
        let path = socket_path("successor");
        let bound = bind(&Admin::Unix { path: path.clone() }).unwrap();
        fs::remove_file(&path).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.exists());
        drop(successor);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_never_replaced() {
        let path = socket_path("file");
        fs::write(&path, "precious").unwrap();
        let refused = bind(&Admin::Unix { path: path.clone() });
        assert!(matches!(refused, Err(BindError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();
    }
}
