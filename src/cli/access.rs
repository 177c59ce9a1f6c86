//! Explains why a socket or the daemon refused us, and what to do.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgroups};

/// Somebody listens on `socket` and is behind with accepting.
pub(super) fn busy(socket: &Path) -> String {
    format!("{}: busy, too many connections wait to be accepted; try again", socket.display())
}

/// Path, owner, mode, our uid and groups, and one thing to do; `key` names what the socket's mode is set by.
pub(super) fn explain(socket: &Path, key: &str) -> String {
    // A directory on the way may be closed to us; then that one is what to look at.
    let seen = socket.ancestors().find_map(|path| std::fs::metadata(path).ok().map(|found| (path, found)));
    let what = match seen {
        Some((path, found)) => format!(
            "{} belongs to {}:{}, mode {:04o}",
            path.display(),
            user(found.uid()),
            group(found.gid()),
            found.mode() & 0o7777
        ),
        None => "its directory cannot be read".to_owned(),
    };
    let groups: Vec<String> = getgroups().unwrap_or_default().iter().map(|gid| group(gid.as_raw())).collect();
    format!(
        "{}: permission denied; {what}; you are {} with groups {}; add the user to the socket's group (usermod -aG GROUP USER, then log in again), or ask the operator to change {key}",
        socket.display(),
        user(geteuid().as_raw()),
        groups.join(", ")
    )
}

/// What the daemon says to a connection that it does not serve, before it closes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// Not for this uid. Trying again does not help.
    NotAllowed(String),
    /// There are too many connections.
    Crowded(String),
}

impl TurnedAway {
    /// `None` if an answer with this status is about what was sent.
    pub(super) fn of(socket: &Path, status: Option<u16>, message: &str) -> Option<Self> {
        let socket = socket.display();
        match status {
            Some(403) => Some(Self::NotAllowed(format!(
                "{socket}: {message}; you are {}; ask the operator to add you there, or run this as a user on that list",
                user(geteuid().as_raw())
            ))),
            Some(503) => Some(Self::Crowded(format!(
                "{socket}: the daemon refused the connection: {message}; stop other producers, or raise ingest.max_connections"
            ))),
            _ => None,
        }
    }
}

fn user(uid: u32) -> String {
    let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    name.map_or_else(|| uid.to_string(), |name| format!("{name}({uid})"))
}

fn group(gid: u32) -> String {
    let name = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
    name.map_or_else(|| gid.to_string(), |name| format!("{name}({gid})"))
}
