//! Says why a socket may not be used: what it is, who we are, what to do.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgroups};

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
        None => "its directory cannot be looked at".to_owned(),
    };
    let groups: Vec<String> = getgroups().unwrap_or_default().iter().map(|gid| group(gid.as_raw())).collect();
    format!(
        "{}: permission denied; {what}; you are {} with groups {}; join the socket's group (usermod -aG GROUP USER, then log in again) or ask for {key}",
        socket.display(),
        user(geteuid().as_raw()),
        groups.join(", ")
    )
}

fn user(uid: u32) -> String {
    let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
    name.map_or_else(|| uid.to_string(), |name| format!("{name}({uid})"))
}

fn group(gid: u32) -> String {
    let name = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
    name.map_or_else(|| gid.to_string(), |name| format!("{name}({gid})"))
}
